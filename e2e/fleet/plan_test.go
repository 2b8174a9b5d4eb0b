package main

import (
	"testing"
	"time"
)

func TestPhases(t *testing.T) {
	all, err := options{machines: 6000}.phases()
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range all {
		if string(p.name) != phaseNames()[i] {
			t.Errorf("phase %d is %s", i, p.name)
		}
	}
	if churn := all[2]; churn.steps != 300 || churn.lasts != 30*time.Second {
		t.Errorf("churn: %d steps in %v, want a tenth of 6,000 a minute", churn.steps, churn.lasts)
	}
	if rolling := all[5]; rolling.steps != 6000 {
		t.Errorf("rolling: %d steps", rolling.steps)
	}
	some, err := options{machines: 20, only: "rest", quick: true}.phases()
	if err != nil || len(some) != 2 || some[0].name != storm || some[1].lasts >= time.Second {
		t.Errorf("with -only rest -quick: %+v, %v", some, err)
	}
	if _, err := (options{machines: 20, only: "rest,nap"}).phases(); err == nil {
		t.Error("a phase that does not exist is accepted")
	}
}

func TestPace(t *testing.T) {
	p := phase{lasts: 10 * time.Second, steps: 25}
	for after, want := range map[time.Duration]int{0: 0, time.Second: 2, 4 * time.Second: 10, 10 * time.Second: 25, time.Hour: 25} {
		if got := p.due(after); got != want {
			t.Errorf("due after %v: %d, want %d", after, got, want)
		}
	}
	if p.tooLate(12*time.Second) || !p.tooLate(17*time.Second) {
		t.Error("steps may take half of their time longer, and a second")
	}
	if got := (phase{steps: 3}).due(0); got != 3 {
		t.Errorf("due at once: %d", got)
	}
}

func TestCheck(t *testing.T) {
	good := options{machines: 20, whole: 2, store: "bolt"}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*options){
		"one machine":           func(o *options) { o.machines = 1 },
		"more than a cluster":   func(o *options) { o.machines = 10_000 },
		"no whole machine":      func(o *options) { o.whole = 0 },
		"too many of them":      func(o *options) { o.whole = 21 },
		"another store":         func(o *options) { o.store = "etcd" },
		"a phase of no meaning": func(o *options) { o.only = "x" },
	} {
		bad := good
		spoil(&bad)
		if bad.check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
