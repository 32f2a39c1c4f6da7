// Package tabs trains a run over several tabs of one headless Chromium, which exchange gradients and weights through a
// room of this process.
package tabs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	engine "llamatab/engine/train"
	"llamatab/server/exit"
	"llamatab/server/headless"
	"llamatab/server/inputs"
	"llamatab/server/job"
	"llamatab/server/room"
	"llamatab/server/runner"
	"llamatab/server/web"
)

// Share makes a config one of a run over n tabs; 0 leaves it as it is.
func Share(c *config.Config, n int) error {
	if n == 0 {
		return nil
	}
	if n < 0 {
		return exit.Usagef("train: --tabs %d: want 1 or more", n)
	}
	if c.FSDP != nil {
		return c.Set("fsdp.world_size", fmt.Sprint(n))
	}
	by := "FULL_SHARD"
	if c.PEFT != nil { // adapters are small: to share them out would cost traffic and save nothing
		by = "NO_SHARD"
	}
	return c.Set("fsdp", fmt.Sprintf(`{"world_size": %d, "sharding_strategy": %q}`, n, by))
}

// roomDir holds the room of a run over tabs, in the output folder: a run that was ended goes on from its last commit.
const roomDir = ".room"

const theRoom = "run"

// tabsRun is a run over several tabs of one headless browser.
type tabsRun struct {
	spec   message.Job
	mounts *inputs.Mounts
	out    string
	store  job.Store
	log    *job.Log
	show   *runner.Progress
	rooms  *room.Rooms
	host   *room.Host
	cancel context.CancelCauseFunc

	notes  slog.Handler // of what the room notes
	listen func() (net.Listener, error)
	retell func([]fsdp.Commit, []fsdp.Evaluated) ([]message.Step, error)  // of steps that no tab tells of any more
	held   func(by fsdp.Strategy) (held, ddp map[string]int64, err error) // what a rank holds by class, by the plan

	mu      sync.Mutex
	tabs    []*runTab
	step    int                  // the last on record
	known   int                  // the last that an earlier life put there
	told    map[int]message.Step // by tabs, and not on record yet
	used    map[int]room.StepUse // by steps that are over, and not on record yet
	sum     usage
	summary json.RawMessage // the last one
	trace   trace
}

// runTab is one tab of the run. One that takes the place of another has its rank.
type runTab struct {
	rank    int
	job     *job.Job
	browser *headless.Browser
	ended   bool
}

// Train runs a job in a room of its own whose tabs this program opens.
func Train(ctx context.Context, c *config.Config, m *inputs.Mounts, spec message.Job, flags runner.Browser, out string) error {
	t, cfg, err := newTabsRun(c, m, spec, out)
	if err != nil {
		return err
	}
	return t.train(ctx, cfg, flags)
}

// newTabsRun prepares a run over tabs and says what its room is for.
func newTabsRun(c *config.Config, m *inputs.Mounts, spec message.Job, out string) (*tabsRun, room.Config, error) {
	files, err := m.Open()
	if err != nil {
		return nil, room.Config{}, err
	}
	run, err := engine.RoomRun(theRoom, c, files)
	if err != nil {
		f := engine.Failure(err)
		return nil, room.Config{}, exit.Outcome(message.Envelope{Failed: f})
	}
	t := &tabsRun{spec: spec, mounts: m, out: out, show: runner.NewProgress(), told: map[int]message.Step{}, used: map[int]room.StepUse{}, listen: listenLocal}
	t.notes = &diary{t}
	t.retell = func(commits []fsdp.Commit, evals []fsdp.Evaluated) ([]message.Step, error) {
		return engine.Told(c, files, commits, evals)
	}
	t.held = func(by fsdp.Strategy) (held, ddp map[string]int64, err error) {
		roomy := device.DefaultLimits // the formula knows no limits
		roomy.MaxBuffer, roomy.MaxBinding = 1<<50, 1<<50
		f, err := engine.Plan(c, files, engine.Conditions{Limits: roomy, Tabs: c.FSDP.WorldSize})
		if err != nil {
			return nil, nil, err
		}
		for _, s := range f.Sharding {
			switch s.Strategy {
			case by:
				held = s.Bytes
			case fsdp.NoShard:
				ddp = s.Bytes
			}
		}
		if by == fsdp.NoShard {
			ddp = held
		}
		return held, ddp, nil
	}
	return t, room.Config{Run: *run, MinTabs: c.FSDP.WorldSize}, nil
}

// train runs it into its output folder.
func (t *tabsRun) train(ctx context.Context, cfg room.Config, flags runner.Browser) error {
	dir, err := job.OpenDir(t.out)
	if err != nil {
		return err
	}
	state := filepath.Join(t.out, roomDir)
	_, err = os.Stat(filepath.Join(state, theRoom))
	t.store, t.log = dir, job.NewLog(t.out, err == nil)
	t.trace.file = filepath.Join(t.out, TraceFile)
	err = t.run(ctx, cfg, flags, state)
	return runner.Finish(err, func() error { return t.log.Close() }, dir.Close)
}

func listenLocal() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }

// open opens the room, or the one that an earlier run of the same config left.
func (t *tabsRun) open(cfg room.Config, state string) error {
	local, err := room.OpenLocal(state)
	if err != nil {
		return err
	}
	if t.rooms, err = room.OpenRooms(local, slog.New(t.notes)); err != nil {
		return err
	}
	if err := t.rooms.Shut(theRoom); err != nil {
		return fmt.Errorf("the run in %s cannot go on: %w; remove the folder to begin anew", state, errors.Join(err, t.rooms.Close()))
	}
	if t.host = t.rooms.Find(theRoom); t.host != nil {
		if t.host.Describes(cfg.Run) {
			return t.goOn(cfg.Run.Eval)
		}
		if err := errors.Join(t.rooms.Close(), os.RemoveAll(state)); err != nil {
			return err
		}
		t.log = job.NewLog(t.out, false)
		return t.open(cfg, state)
	}
	t.host, err = t.rooms.Open(theRoom, cfg, "")
	return err
}

// goOn takes up the record of an earlier life of the run where the room stands. Steps that were committed and did not get
// on record are put there from the room's log; tabs that replay steps tell of them in vain.
func (t *tabsRun) goOn(eval *fsdp.Evaluation) error {
	commits, evals := t.host.Earlier()
	t.mu.Lock()
	defer t.mu.Unlock()
	var err error
	if t.step, err = t.log.Last(); err != nil || len(commits) == 0 {
		return err
	}
	t.known = t.step
	t.record(roomEvent("info", "resumed", len(commits), nil, fmt.Sprintf("the room goes on after step %d, its last commit", len(commits))))
	if t.step >= len(commits) {
		return nil
	}
	lines, err := t.retell(commits, evals)
	if err != nil {
		return err
	}
	n := uint64(len(lines))
	if eval.Due(n) && !slices.ContainsFunc(evals, func(e fsdp.Evaluated) bool { return e.Version == n }) {
		lines = lines[:n-1] // tabs tell of it once it is evaluated
	}
	for ; t.step < len(lines); t.step++ {
		t.record(message.Envelope{Type: "step", Step: &lines[t.step]})
	}
	return nil
}

// run trains, and returns when one tab has written the result.
func (t *tabsRun) run(ctx context.Context, cfg room.Config, flags runner.Browser, state string) error {
	page, err := web.Open()
	if err != nil {
		return err
	}
	ctx, t.cancel = context.WithCancelCause(ctx)
	defer t.cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		select {
		case <-signals:
			fmt.Fprintln(os.Stderr, "\ninterrupted; the same command goes on from the last step")
			t.cancel(&exit.Error{Code: exit.Interrupted, Err: errors.New("interrupted")})
		case <-ctx.Done():
		}
	}()
	if err := t.open(cfg, state); err != nil {
		return err
	}
	defer t.rooms.Close()
	listener, err := t.listen()
	if err != nil {
		return fmt.Errorf("opening a port for the tabs: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", page)
	mux.HandleFunc("GET "+web.BlankPath, web.Blank)
	mux.Handle("/api/rooms/", t.rooms.Handler())
	mux.HandleFunc("/job/{token}/{rest...}", t.serveJob)
	server := &http.Server{Handler: web.Guard(nil, mux), ReadHeaderTimeout: time.Minute}
	go server.Serve(listener)
	defer server.Close()
	address := "http://" + listener.Addr().String()

	browser, found, err := runner.OpenBrowser(ctx, flags, address+web.BlankPath)
	if err != nil {
		return runner.Interruption(ctx, err)
	}
	defer browser.Close()
	t.spec.AdapterBackend = found.Backend
	t.sum.ranks = make([]room.TabUse, cfg.MinTabs)
	for range cfg.MinTabs {
		if err := t.join(ctx, browser, address); err != nil {
			return runner.Interruption(ctx, err)
		}
	}
	err = t.wait(ctx, browser, address)
	t.account(true)
	if err != nil {
		return runner.Interruption(ctx, err)
	}
	if err := t.report(&cfg.Run); err != nil {
		return err
	}
	return errors.Join(t.rooms.Close(), os.RemoveAll(state))
}

// serveJob hands a request to the tab's job whose token it names.
func (t *tabsRun) serveJob(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	var j *job.Job
	for _, tab := range t.tabs {
		if tab.job.Token == r.PathValue("token") {
			j = tab.job
		}
	}
	t.mu.Unlock()
	switch {
	case j == nil:
		http.NotFound(w, r)
	case r.PathValue("rest") == "":
		web.JobPage(w, r)
	default:
		j.Handler().ServeHTTP(w, r)
	}
}

// join opens one more tab with a job of its own.
func (t *tabsRun) join(ctx context.Context, browser *headless.Browser, address string) error {
	t.mu.Lock()
	spec := t.spec
	rank := 0
	for slices.ContainsFunc(t.tabs, func(tab *runTab) bool { return !tab.ended && tab.rank == rank }) {
		rank++
	}
	spec.Room = &message.RoomJob{ID: t.host.ID, Code: t.host.Code(), Name: rankName(rank)}
	tab := &runTab{rank: rank, job: t.mounts.Into(spec)}
	tab.job.Store = t.store
	tab.job.Observe = func(e message.Envelope) { t.observe(tab, e) }
	t.tabs = append(t.tabs, tab)
	t.mu.Unlock()
	var err error
	if tab.browser, err = browser.Tab(); err != nil {
		return err
	}
	return tab.browser.Open(ctx, address+tab.job.Path())
}

// lead is the first tab that lives; the caller holds the lock.
func (t *tabsRun) lead() *runTab {
	for _, tab := range t.tabs {
		if !tab.ended {
			return tab
		}
	}
	return nil
}

// observe records what the tabs say: each step once, whoever says it first; all else of the first tab that lives.
func (t *tabsRun) observe(tab *runTab, e message.Envelope) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case e.Step != nil:
		if _, told := t.told[e.Step.Step]; !told && e.Step.Step > t.step {
			t.told[e.Step.Step] = *e.Step
			t.recordSteps(false)
		}
		return
	case e.Span != nil:
		t.trace.add(tab.rank, *e.Span)
		return
	case tab != t.lead() || e.Event != nil && e.Event.Step > 0 && e.Event.Step <= t.known: // a tab that replays it says it again
		return
	case e.Summary != nil:
		t.summary = e.Summary
	}
	t.record(e)
}

// recordSteps puts steps on record, in order: what a tab told of each and what the room found that it took. At the end
// of the run nothing is waited for.
func (t *tabsRun) recordSteps(end bool) {
	for _, n := range slices.Sorted(maps.Keys(t.told)) {
		step := t.told[n]
		use, known := t.used[n]
		if !known && !end {
			return
		}
		if known {
			t.sum.add(use, &step)
		}
		delete(t.told, n)
		delete(t.used, n)
		t.step = n
		t.record(message.Envelope{Type: "step", Step: &step})
	}
}

// account asks the room for what steps took.
func (t *tabsRun) account(end bool) {
	steps := t.host.Steps(t.sum.next)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, use := range steps {
		t.used[int(use.Step)+1] = use
		t.sum.next = use.Step + 1
	}
	t.recordSteps(end)
}

// record keeps and shows a message.
func (t *tabsRun) record(e message.Envelope) {
	if e.Done == nil && e.Failed == nil {
		if err := t.log.Record(e); err != nil {
			t.cancel(err)
		}
	}
	t.show.Observe(e)
}

// restarts is how many tabs that died are replaced.
const restarts = 20

// wait returns once a tab has written the result.
func (t *tabsRun) wait(ctx context.Context, browser *headless.Browser, address string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var writer *runTab
	for lost := 0; ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-browser.Gone():
			return &exit.Error{Code: exit.Failed, Err: fmt.Errorf("%w: the same command goes on from the last step", browser.Err())}
		case <-tick.C:
		}
		t.account(false)
		dead := 0
		for _, tab := range t.tabs {
			select {
			case <-tab.job.Ended():
				if tab == writer && tab.job.Outcome().Done != nil {
					return nil
				}
			case <-tab.browser.Gone():
			default:
				if time.Since(tab.job.Heard()) < runner.QuietLimit {
					continue
				}
			}
			if tab.ended {
				continue
			}
			t.mu.Lock()
			tab.ended = true
			t.mu.Unlock()
			tab.browser.Close()
			if tab == writer {
				writer = nil
			}
			if f := tab.job.Outcome().Failed; f != nil {
				if f.Exit == exit.BadUsage {
					return exit.Outcome(tab.job.Outcome())
				}
				t.mu.Lock()
				t.record(roomEvent("warning", "tab_failed", t.step, map[string]any{"rank": tab.rank, "code": f.Code}, fmt.Sprintf("rank %d: %s", tab.rank, f.Message)))
				t.mu.Unlock()
			}
			dead++
		}
		for range dead {
			if lost++; lost > restarts {
				last := t.tabs[len(t.tabs)-1].job.Outcome()
				return errors.Join(fmt.Errorf("%d tabs died", lost), exit.Outcome(last))
			}
			if err := t.join(ctx, browser, address); err != nil {
				return err
			}
		}
		done, err := t.host.Done()
		if err != nil {
			return err
		}
		if done && writer == nil {
			t.mu.Lock()
			writer = t.lead()
			t.mu.Unlock()
			writer.job.Send(message.Save)
		}
	}
}

func roomEvent(level, code string, step int, data map[string]any, text string) message.Envelope {
	return message.Envelope{Type: "event", Event: &message.Event{Time: time.Now().UTC().Format(time.RFC3339Nano), Level: level, Code: code, Step: step, Message: text, Data: data}}
}

// diary is a slog.Handler that records what the room notes as events of the run.
type diary struct{ run *tabsRun }

func (d *diary) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (d *diary) WithAttrs([]slog.Attr) slog.Handler           { return d }
func (d *diary) WithGroup(string) slog.Handler                { return d }

func (d *diary) Handle(_ context.Context, r slog.Record) error {
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
	d.run.mu.Lock()
	defer d.run.mu.Unlock()
	d.run.record(roomEvent(level, code, step, data, r.Message))
	return nil
}
