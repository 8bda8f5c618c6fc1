// The story of test_clients.py with the Go SDK; addresses by environment and ClientOpts.BaseURL.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"github.com/alpacahq/alpaca-trade-api-go/v3/alpaca"
	"github.com/alpacahq/alpaca-trade-api-go/v3/marketdata"
	"github.com/shopspring/decimal"
)

var (
	lock sync.Mutex
	seen = map[string][]string{}
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func waitFor(orderID, event string) []string {
	for until := time.Now().Add(15 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		lock.Lock()
		events := append([]string{}, seen[orderID]...)
		lock.Unlock()
		for _, one := range events {
			if one == event {
				return events
			}
		}
	}
	log.Fatalf("%s of %s did not come: %v", event, orderID, seen)
	return nil
}

func main() {
	client := alpaca.NewClient(alpaca.ClientOpts{BaseURL: os.Getenv("APCA_API_BASE_URL")})
	data := marketdata.NewClient(marketdata.ClientOpts{BaseURL: os.Getenv("APCA_API_DATA_URL")})
	client.StreamTradeUpdatesInBackground(context.Background(), func(update alpaca.TradeUpdate) {
		lock.Lock()
		defer lock.Unlock()
		seen[update.Order.ID] = append(seen[update.Order.ID], update.Event)
	})
	account := must(client.GetAccount())
	quote := must(data.GetLatestQuote("AAPL", marketdata.GetLatestQuoteRequest{}))
	time.Sleep(300 * time.Millisecond)
	two, one, price := decimal.NewFromInt(2), decimal.NewFromInt(1), decimal.NewFromInt(1)
	order := must(client.PlaceOrder(alpaca.PlaceOrderRequest{
		Symbol: "AAPL", Qty: &two, Side: alpaca.Buy, Type: alpaca.Market, TimeInForce: alpaca.Day,
	}))
	events := waitFor(order.ID, "fill")
	filled := must(client.GetOrder(order.ID))
	position := must(client.GetPosition("AAPL"))
	resting := must(client.PlaceOrder(alpaca.PlaceOrderRequest{
		Symbol: "AAPL", Qty: &one, Side: alpaca.Buy, Type: alpaca.Limit, TimeInForce: alpaca.GTC, LimitPrice: &price,
	}))
	waitFor(resting.ID, "new")
	open := must(client.GetOrders(alpaca.GetOrdersRequest{Status: "open"}))
	if err := client.CancelOrder(resting.ID); err != nil {
		log.Fatal(err)
	}
	cancelEvents := waitFor(resting.ID, "canceled")
	closing := must(client.ClosePosition("AAPL", alpaca.ClosePositionRequest{}))
	fmt.Println(string(must(json.Marshal(map[string]any{
		"cash": account.Cash, "bid": quote.BidPrice, "ask": quote.AskPrice, "events": events,
		"status": filled.Status, "price": filled.FilledAvgPrice, "position": position.Qty, "open": len(open),
		"cancel_events": cancelEvents, "cancel_status": must(client.GetOrder(resting.ID)).Status,
		"closed": closing.Side,
	}))))
}
