// The story of test_clients.py with the JavaScript SDK 3; addresses by baseUrl, dataBaseUrl, dataStreamUrl.
"use strict";

const Alpaca = require("alpaca-3");
const { seen, waitFor, run } = require("./story");

const url = process.env.APCA_API_BASE_URL;
const alpaca = new Alpaca({ baseUrl: url, dataBaseUrl: url, dataStreamUrl: url });

run(async () => {
  const listening = new Promise((resolve) => {
    alpaca.trade_ws.onConnect(() => {
      alpaca.trade_ws.subscribe(["trade_updates"]);
      setTimeout(resolve, 200);
    });
  });
  alpaca.trade_ws.onOrderUpdate((update) => seen.push({ id: update.order.id, event: update.event }));
  alpaca.trade_ws.connect();
  const account = await alpaca.getAccount();
  const quote = await alpaca.getLatestQuote("AAPL");
  await listening;
  const order = await alpaca.createOrder({ symbol: "AAPL", qty: 2, side: "buy", type: "market", time_in_force: "day" });
  const events = await waitFor(order, "fill");
  const filled = await alpaca.getOrder(order.id);
  const position = await alpaca.getPosition("AAPL");
  const resting = await alpaca.createOrder({
    symbol: "AAPL", qty: 1, side: "buy", type: "limit", limit_price: 1, time_in_force: "gtc",
  });
  await waitFor(resting, "new");
  const open = await alpaca.getOrders({ status: "open" });
  await alpaca.cancelOrder(resting.id);
  const cancelEvents = await waitFor(resting, "canceled");
  const closing = await alpaca.closePosition("AAPL");
  return {
    cash: account.cash,
    bid: quote.BidPrice,
    ask: quote.AskPrice,
    events,
    status: filled.status,
    price: filled.filled_avg_price,
    position: position.qty,
    open: open.length,
    cancel_events: cancelEvents,
    cancel_status: (await alpaca.getOrder(resting.id)).status,
    closed: closing.side,
  };
});
