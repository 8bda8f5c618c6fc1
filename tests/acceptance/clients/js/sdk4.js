// The story of test_clients.py with the JavaScript SDK 4; addresses by basePath and url.
"use strict";

const { trading, marketData, streaming } = require("alpaca-4");
const { seen, waitFor, run } = require("./story");

const url = process.env.APCA_API_BASE_URL;
const keyId = process.env.APCA_API_KEY_ID;
const secret = process.env.APCA_API_SECRET_KEY;
const configuration = new trading.Configuration({ basePath: url, keyId, secret });
const accounts = new trading.AccountsApi(configuration);
const orders = new trading.OrdersApi(configuration);
const positions = new trading.PositionsApi(configuration);
const stocks = new marketData.StockApi(new marketData.Configuration({ basePath: url, keyId, secret }));
const stream = new streaming.TradingStream({ url: `${url.replace(/^http/, "ws")}/stream`, credentials: { keyId, secret } });

run(async () => {
  const listening = new Promise((resolve) => {
    stream.onConnect(() => {
      stream.subscribeTradeUpdates();
      setTimeout(resolve, 200);
    });
  });
  stream.onTradeUpdate((update) => seen.push({ id: update.order.id, event: update.event }));
  stream.connect();
  const account = await accounts.getAccount();
  const quote = (await stocks.stockLatestQuoteSingle({ symbol: "AAPL" })).quote;
  await listening;
  const order = await orders.postOrder({
    postOrderRequest: { symbol: "AAPL", qty: "2", side: "buy", type: "market", timeInForce: "day" },
    createOrderRequest: { symbol: "AAPL", qty: "2", side: "buy", type: "market", timeInForce: "day" },
  });
  const events = await waitFor(order, "fill");
  const filled = await orders.getOrderByOrderID({ orderId: order.id });
  const position = await positions.getOpenPosition({ symbolOrAssetId: "AAPL" });
  const limit = { symbol: "AAPL", qty: "1", side: "buy", type: "limit", limitPrice: "1", timeInForce: "gtc" };
  const resting = await orders.postOrder({ postOrderRequest: limit, createOrderRequest: limit });
  await waitFor(resting, "new");
  const open = await orders.getAllOrders({ status: "open" });
  await orders.deleteOrderByOrderID({ orderId: resting.id });
  const cancelEvents = await waitFor(resting, "canceled");
  const closing = await positions.deleteOpenPosition({ symbolOrAssetId: "AAPL" });
  return {
    cash: account.cash,
    bid: quote.bp ?? quote.bidPrice,
    ask: quote.ap ?? quote.askPrice,
    events,
    status: filled.status,
    price: filled.filledAvgPrice,
    position: position.qty,
    open: open.length,
    cancel_events: cancelEvents,
    cancel_status: (await orders.getOrderByOrderID({ orderId: resting.id })).status,
    closed: closing.side,
  };
});
