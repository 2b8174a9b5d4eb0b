package page

import (
	"encoding/json"
	"math"
	"strconv"
	"sync"
	"time"
)

// Interval is the time between two readings.
const Interval = 10 * time.Second

// Span is the time that an answer is about.
type Span int

const (
	// Now is the latest reading alone.
	Now Span = iota
	// Hour is the last hour.
	Hour
	// Day is the last day.
	Day

	spanCount
)

// SpanOf returns the span of a name: now, hour or day.
func SpanOf(name string) (Span, bool) {
	for i, known := range [spanCount]string{"now", "hour", "day"} {
		if name == known {
			return Span(i), true
		}
	}
	return 0, false
}

// Store is what the page shows of a server's store.
type Store struct {
	// Kind is memory, bolt or etcd.
	Kind string
	// Ready is set if the store can be used.
	Ready bool
	// File is the size of its file, in bytes, and Written when that was last written. They are
	// zero if there is no file, and Written if it was not written since the start.
	File    int64
	Written time.Time
}

// About is what does not change while a server runs.
type About struct {
	Version string
	// Memory is the most memory that the server may take, in bytes; 0 for no bound.
	Memory int64
}

// Answer is an answer to a browser. Nobody changes it.
type Answer struct {
	// Body is JSON.
	Body []byte
	// ETag names the body, as HTTP wants it.
	ETag string
}

// Board has what the page shows. Make one with NewBoard.
type Board struct {
	about About

	mu sync.Mutex
	// number counts the readings.
	number    uint64
	now       time.Time
	store     Store
	hour, day ring
	// answers are those about the latest reading, as far as somebody has asked.
	answers map[answerKey]Answer
}

type answerKey struct {
	audience Audience
	span     Span
}

// NewBoard returns a board without readings.
func NewBoard(about About) *Board {
	return &Board{
		about:   about,
		hour:    ring{step: Interval, size: int(time.Hour / Interval)},
		day:     ring{step: 5 * time.Minute, size: int(24 * time.Hour / (5 * time.Minute))},
		answers: map[answerKey]Answer{},
	}
}

// Record adds a reading of now.
func (b *Board) Record(now time.Time, r Reading, s Store) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.number++
	b.now, b.store = now, s
	b.hour.record(r)
	b.day.record(r)
	clear(b.answers)
}

// Answer returns what an audience sees of a span. It is made once between two readings.
func (b *Board) Answer(a Audience, span Span) Answer {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := answerKey{a, span}
	if known, ok := b.answers[key]; ok {
		return known
	}
	// The time makes the answers of another process differ.
	name := strconv.FormatInt(b.now.UnixNano(), 36) + "-" + strconv.Itoa(int(a)) + strconv.Itoa(int(span))
	made := Answer{Body: b.encode(a, span), ETag: `"` + name + `"`}
	b.answers[key] = made
	return made
}

// answer is the JSON of an answer, but for the numbers over time.
type answer struct {
	Version string `json:"version"`
	// Shows is the audience, and Few is set if numbers are withheld because there are few
	// clusters.
	Shows string `json:"shows"`
	Few   bool   `json:"few,omitempty"`
	// Serving is set if the store can be used.
	Serving bool `json:"serving"`
	// Time is that of the reading, in seconds since 1970; 0 if there is none yet.
	Time int64 `json:"time"`
	// Step is the time between two rows, in seconds.
	Step   int64        `json:"step"`
	Uptime int64        `json:"uptime"`
	Store  *storeAnswer `json:"store,omitempty"`
	// Memory is the most that the server may take, in bytes; 0 for no bound.
	Memory int64 `json:"memory,omitempty"`
}

type storeAnswer struct {
	Kind string `json:"kind"`
	File int64  `json:"file,omitempty"`
	// Written is in seconds since 1970.
	Written int64 `json:"written,omitempty"`
}

// encode returns the JSON of an answer. b.mu is held.
func (b *Board) encode(a Audience, span Span) []byte {
	out := answer{Version: b.about.Version, Shows: audienceNames[a], Serving: b.store.Ready, Step: int64(Interval.Seconds())}
	latest := b.hour.last()
	if latest == nil || a == Nothing {
		return marshal(out)
	}
	rows := &b.hour
	if span == Day {
		rows = &b.day
		out.Step = int64(b.day.step.Seconds())
	}
	out.Time = b.now.Unix()
	out.Uptime = int64(latest.at.Seconds())
	out.Store = &storeAnswer{Kind: b.store.Kind}
	shown := a.mayShow(latest.values[clusters])
	out.Few = !shown
	if shown {
		out.Memory = b.about.Memory
		out.Store.File = int64(a.Count(int(b.store.File)))
		if !b.store.Written.IsZero() {
			out.Store.Written = b.store.Written.Unix()
		}
	}
	return b.appendNumbers(marshal(out), a, span, rows, latest)
}

func marshal(v answer) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return []byte("{}") // an answer can be encoded
	}
	return text
}

// appendNumbers adds to an object the latest values as "now", and for a span the "times" and the
// values of each column in "series". What is not known or not shown is null.
func (b *Board) appendNumbers(object []byte, a Audience, span Span, rows *ring, latest *row) []byte {
	out := object[:len(object)-1]
	out = append(out, `,"now":{`...)
	for i, name := range columnNames {
		out = appendName(out, i, name)
		out = appendValue(out, a, i, latest)
	}
	out = append(out, '}')
	if span == Now {
		return append(out, '}')
	}
	out = append(out, `,"times":[`...)
	first := true
	for r := range rows.all() {
		if !first {
			out = append(out, ',')
		}
		first = false
		out = strconv.AppendInt(out, b.now.Add(r.at-latest.at).Unix(), 10)
	}
	out = append(out, `],"series":{`...)
	for i, name := range columnNames {
		out = append(appendName(out, i, name), '[')
		start := len(out)
		for r := range rows.all() {
			if len(out) > start {
				out = append(out, ',')
			}
			out = appendValue(out, a, i, r)
		}
		out = append(out, ']')
	}
	return append(out, "}}"...)
}

// appendName adds the name of the i-th field of an object.
func appendName(out []byte, i int, name string) []byte {
	if i > 0 {
		out = append(out, ',')
	}
	return append(strconv.AppendQuote(out, name), ':')
}

// appendValue adds the value of a column as an audience sees it.
func appendValue(out []byte, a Audience, column int, r *row) []byte {
	value := a.number(column, r.values[column])
	if !a.mayShow(r.values[clusters]) || math.IsNaN(value) || math.IsInf(value, 0) {
		return append(out, "null"...)
	}
	return strconv.AppendFloat(out, value, 'f', -1, 64)
}
