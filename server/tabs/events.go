package tabs

import (
	"context"
	"log/slog"
	"time"

	"llamatab/engine/message"
)

// roomEvent is an event of the run with the present time.
func roomEvent(level, code string, step int, data map[string]any, text string) message.Envelope {
	return message.Envelope{Type: "event", Event: &message.Event{Time: time.Now().UTC().Format(time.RFC3339Nano), Level: level, Code: code, Step: step, Message: text, Data: data}}
}

// eventHandler is a slog.Handler that records the room's log as events of the run.
type eventHandler struct{ run *tabsRun }

func (h *eventHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (h *eventHandler) WithAttrs([]slog.Attr) slog.Handler           { return h }
func (h *eventHandler) WithGroup(string) slog.Handler                { return h }

func (h *eventHandler) Handle(_ context.Context, r slog.Record) error {
	code, step, data := "room", 0, map[string]any{}
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "code":
			code = a.Value.String()
		case "step":
			step = int(a.Value.Uint64())
		default:
			data[a.Key] = a.Value.Any()
		}
		return true
	})
	if name, ok := map[string]string{"joined": "tab_joined", "gone": "tab_left"}[code]; ok {
		code = name
	}
	level := "info"
	if r.Level >= slog.LevelWarn {
		level = "warning"
	}
	h.run.mu.Lock()
	defer h.run.mu.Unlock()
	h.run.record(roomEvent(level, code, step, data, r.Message))
	return nil
}
