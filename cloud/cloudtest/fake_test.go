package cloudtest

import (
	"context"
	"errors"
	"testing"

	"nimbus/cloud"
)

func TestFake(t *testing.T) {
	Run(t, func(*testing.T) cloud.Driver { return &Fake{} })
}

func TestFakeFailsNth(t *testing.T) {
	broken := errors.New("broken")
	f := &Fake{OnLaunch: FailNth(2, broken)}
	b := &bench{Driver: f}
	rs := b.requests(t, b.launch(t), "a", "b", "c")
	started, err := f.Launch(t.Context(), rs)
	if !errors.Is(err, broken) {
		t.Errorf("error is %v, want %v", err, broken)
	}
	if len(started) != 2 || started[0].Token != rs[0].Token || started[1].Token != rs[2].Token {
		t.Errorf("started %v, want the first and the third", started)
	}
	again, err := f.Launch(t.Context(), rs)
	if err != nil || len(again) != 3 || again[0].ID != started[0].ID {
		t.Errorf("second try: %v, %v", again, err)
	}
}

func TestFakeBlocks(t *testing.T) {
	f := &Fake{OnLaunch: func(ctx context.Context, n int, _ cloud.Request) error {
		if n < 2 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	b := &bench{Driver: f}
	rs := b.requests(t, b.launch(t), "a", "b")
	ctx, cancel := context.WithCancel(t.Context())
	f.Started = func(cloud.Instance, cloud.Request) { cancel() }
	started, err := f.Launch(ctx, rs)
	if !errors.Is(err, context.Canceled) || len(started) != 1 {
		t.Errorf("canceled launch: %v, %v, want one instance", started, err)
	}
}
