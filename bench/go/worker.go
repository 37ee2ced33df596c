// The official Go worker: worker ORIGIN. Ends when stdin does.
package main

import (
	"context"
	"io"
	"log/slog"
	"os"

	"github.com/inngest/inngestgo"
	"github.com/inngest/inngestgo/step"
)

type data struct {
	X string `json:"x"`
}

type input = inngestgo.Input[data]

func echo(ctx context.Context, in input) (any, error) {
	return in.Event.Data.X, nil
}

func steps(ctx context.Context, in input) (any, error) {
	for _, name := range []string{"one", "two", "three"} {
		one := func(context.Context) (int, error) { return 1, nil }
		if _, err := step.Run(ctx, name, one); err != nil {
			return nil, err
		}
	}
	return in.Event.Data.X, nil
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	origin := os.Args[1]
	os.Setenv("INNGEST_DEV", origin)
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	client := must(inngestgo.NewClient(inngestgo.ClientOpts{
		AppID:      "bench",
		Logger:     quiet,
		APIBaseURL: &origin,
		Dev:        inngestgo.BoolPtr(true),
	}))
	// There are no sync functions in Go: "sync" is the same.
	functions := map[string]inngestgo.SDKFunction[data]{"async": echo, "sync": echo, "steps": steps}
	for id, function := range functions {
		opts := inngestgo.FunctionOpts{ID: id, Retries: inngestgo.IntPtr(0)}
		must(inngestgo.CreateFunction(client, opts, inngestgo.EventTrigger("bench", nil), function))
	}
	instance := "bench"
	must(inngestgo.Connect(context.Background(), inngestgo.ConnectOpts{
		InstanceID: &instance,
		Apps:       []inngestgo.Client{client},
	}))
	io.Copy(io.Discard, os.Stdin)
}
