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
	"path/filepath"
	"slices"
	"sync"
	"time"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/forecast"
	"llamatab/engine/fsdp"
	"llamatab/engine/fsdp/rank"
	"llamatab/engine/message"
	"llamatab/engine/report"
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

// roomDir is the folder of the run's room in the output folder. A run that was interrupted resumes from its last commit.
const roomDir = ".room"

// roomID is the name of the run's room.
const roomID = "run"

// tabsRun is a run over several tabs of one headless browser.
type tabsRun struct {
	spec     message.Job
	mounts   *inputs.Mounts
	out      string
	store    job.Store
	log      *job.Log
	progress *runner.Progress
	rooms    *room.Rooms
	host     *room.Host
	cancel   context.CancelCauseFunc

	roomLog slog.Handler // of the room's log records
	listen  func() (net.Listener, error)
	// recoverSteps makes the lines of steps that the room committed and that no tab reports again.
	recoverSteps func([]fsdp.Commit, []fsdp.Evaluated) ([]message.Step, error)
	// forecastHeld is the plan's forecast of the bytes that a rank holds by class, under a strategy and under DDP.
	forecastHeld func(by fsdp.Strategy) (held, ddp map[string]int64, err error)

	mu        sync.Mutex // guards what follows
	tabs      []*runTab
	step      int                  // the last recorded step
	waiting   bool                 // for a disk that takes the record
	resumedAt int                  // the last step that an earlier process recorded
	reported  map[int]message.Step // steps that a tab has reported and that are not recorded yet
	stepUse   map[int]room.StepUse // what steps took that are over and not recorded yet
	total     usage                // what all recorded steps took
	summary   json.RawMessage      // the last one
	trace     trace
}

// runTab is one tab of the run. A tab that replaces another has its rank.
type runTab struct {
	rank    int
	job     *job.Job
	browser *headless.Browser
	ended   bool
}

// Train runs a training job in a room of its own, whose tabs this process opens in a headless browser. out is the output
// folder. The same call resumes a run that was interrupted.
func Train(ctx context.Context, c *config.Config, m *inputs.Mounts, spec message.Job, flags runner.Browser, out string) error {
	t, cfg, err := newTabsRun(c, m, spec, out)
	if err != nil {
		return err
	}
	return t.train(ctx, cfg, flags)
}

// newTabsRun prepares a run over tabs, and the configuration of its room.
func newTabsRun(c *config.Config, m *inputs.Mounts, spec message.Job, out string) (*tabsRun, room.Config, error) {
	files, err := m.Open()
	if err != nil {
		return nil, room.Config{}, err
	}
	run, tokens, err := rank.NewRun(roomID, c, files)
	if err != nil {
		f := report.Failure(err)
		return nil, room.Config{}, exit.Outcome(message.Envelope{Failed: f})
	}
	t := &tabsRun{spec: spec, mounts: m, out: out, progress: runner.NewProgress(), reported: map[int]message.Step{}, stepUse: map[int]room.StepUse{}, listen: listenLocal}
	t.roomLog = &eventHandler{t}
	t.recoverSteps = func(commits []fsdp.Commit, evals []fsdp.Evaluated) ([]message.Step, error) {
		return rank.Metrics(c, files, commits, evals)
	}
	t.forecastHeld = func(by fsdp.Strategy) (held, ddp map[string]int64, err error) {
		f, err := forecast.Plan(c, files, forecast.Conditions{Limits: device.UnboundedLimits(), Tabs: c.FSDP.WorldSize})
		if err != nil {
			return nil, nil, err
		}
		for _, s := range f.Sharding {
			switch fsdp.Strategy(s.Strategy) {
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
	return t, room.Config{Run: *run, MinTabs: c.FSDP.WorldSize, Tokens: room.Tokens(tokens)}, nil
}

// train runs the job and writes to the output folder.
func (t *tabsRun) train(ctx context.Context, cfg room.Config, flags runner.Browser) error {
	dir, err := job.OpenDir(t.out)
	if err != nil {
		return err
	}
	state := filepath.Join(t.out, roomDir)
	_, err = os.Stat(filepath.Join(state, roomID))
	t.store, t.log = dir, t.newLog(err == nil)
	t.trace.file = filepath.Join(t.out, TraceFile)
	err = t.run(ctx, cfg, flags, state)
	return runner.Finish(err, func() error { return t.log.Close() }, dir.Close)
}

// newLog is the record of the run in its output folder. keep continues the record that is there.
func (t *tabsRun) newLog(keep bool) *job.Log {
	l := job.NewLog(t.out, keep)
	l.Inputs, l.Earlier = slices.Collect(maps.Values(t.mounts.Paths())), runner.ReportEarlier
	return l
}

func listenLocal() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }

// open opens the room: the one that an interrupted run of the same config left, or a new one. A room of another config is kept,
// and refused, if it holds the work of steps.
func (t *tabsRun) open(cfg room.Config, state string) error {
	local, err := room.OpenLocal(state)
	if err != nil {
		return err
	}
	if t.rooms, err = room.OpenRooms(local, slog.New(t.roomLog)); err != nil {
		return err
	}
	if err := t.rooms.Shut(roomID); err != nil {
		return fmt.Errorf("the run in %s cannot go on: %w; remove the folder to begin anew", state, errors.Join(err, t.rooms.Close()))
	}
	if t.host = t.rooms.Find(roomID); t.host != nil {
		if t.host.Describes(cfg.Run) {
			t.host.CheckTokens(cfg.Tokens)
			return t.resume(cfg.Run.Eval)
		}
		if commits, _ := t.host.Earlier(); len(commits) > 0 {
			return errors.Join(exit.Usagef("train: %s holds a run of another config, model or data that was interrupted after step %d: to go on with that run, use its config; "+
				"to begin this one, give another --out, or remove %s and lose what that run has trained", t.out, len(commits), state), t.rooms.Close())
		}
		if err := errors.Join(t.rooms.Close(), os.RemoveAll(state)); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "an interrupted run of another config is replaced: it had done no step")
		t.log = t.newLog(false)
		return t.open(cfg, state)
	}
	t.host, err = t.rooms.Open(roomID, cfg, "")
	return err
}

// run trains, and returns once a tab has written the result.
func (t *tabsRun) run(ctx context.Context, cfg room.Config, flags runner.Browser, state string) error {
	page, err := web.Open()
	if err != nil {
		return err
	}
	ctx, t.cancel = context.WithCancelCause(ctx)
	defer t.cancel(nil)
	signals, ignore := exit.Signals()
	defer ignore()
	go func() {
		select {
		case <-signals:
			fmt.Fprintln(os.Stderr, "\n"+t.afterInterruption())
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
	gate := web.NewGate(web.OfJobs)
	server := gate.Server(web.Guard(nil, nil, mux))
	go server.Serve(gate.Limit(listener))
	defer server.Close()
	address := "http://" + listener.Addr().String()

	t.total.ranks = make([]room.TabUse, cfg.MinTabs)
	err = t.inBrowsers(ctx, cfg.MinTabs, flags, address)
	t.account(true)
	if err != nil {
		return runner.Interruption(ctx, err)
	}
	if err := t.report(&cfg.Run); err != nil {
		return err
	}
	return errors.Join(t.rooms.Close(), os.RemoveAll(state))
}

// afterInterruption says how an interrupted run goes on.
func (t *tabsRun) afterInterruption() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.step == 0 {
		return "interrupted before the first step was recorded; the same command starts the run again"
	}
	return "interrupted; the same command resumes from the last step"
}

// serveJob passes a request to the job of the tab that its address names by a token.
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

// join opens a tab with a job of its own. It gets the lowest rank that no live tab has.
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

// lead is the first live tab. The caller holds the lock.
func (t *tabsRun) lead() *runTab {
	for _, tab := range t.tabs {
		if !tab.ended {
			return tab
		}
	}
	return nil
}

// maxReplaced bounds how many dead tabs are replaced without a step in between.
const maxReplaced = 20

// wait replaces dead tabs, has the lead tab write the result once the room is done, and returns when it is written.
func (t *tabsRun) wait(ctx context.Context, browser *headless.Browser, address string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var writer *runTab // the tab that was asked to write the result
	before := t.recorded()
	for replaced := 0; ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-browser.Ended():
			return headless.ErrClosed
		case <-tick.C:
		}
		if now := t.recorded(); now > before {
			before, replaced = now, 0
		}
		t.account(false)
		if writer != nil && writer.done() {
			return nil
		}
		dead, err := t.closeDead()
		if err != nil {
			return err
		}
		if writer != nil && writer.ended {
			writer = nil
		}
		for range dead {
			if replaced++; replaced > maxReplaced {
				last := t.tabs[len(t.tabs)-1].job.Outcome()
				return errors.Join(fmt.Errorf("%d tabs died", replaced), exit.Outcome(last))
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

// done reports whether the tab's job has ended in success.
func (tab *runTab) done() bool {
	select {
	case <-tab.job.Ended():
		return tab.job.Outcome().Done != nil
	default:
		return false
	}
}

// dead reports whether the tab's job has ended, its process is gone, or its engine has been silent for too long.
func (tab *runTab) dead() bool {
	select {
	case <-tab.job.Ended():
		return true
	case <-tab.browser.Gone():
		return true
	default:
		return time.Since(tab.job.Heard()) >= runner.QuietLimit
	}
}

// recorded is the last recorded step.
func (t *tabsRun) recorded() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.step
}

// closeDead closes the tabs that have died since the last call and counts them. An error of the config ends the run; a tab that
// got no adapter ends the browser.
func (t *tabsRun) closeDead() (dead int, err error) {
	for _, tab := range t.tabs {
		if tab.ended || !tab.dead() {
			continue
		}
		t.mu.Lock()
		tab.ended = true
		t.mu.Unlock()
		tab.browser.Close()
		dead++
		f := tab.job.Outcome().Failed
		if f == nil {
			continue
		}
		if f.Exit == exit.BadUsage {
			return dead, exit.Outcome(tab.job.Outcome())
		}
		t.mu.Lock()
		t.record(roomEvent("warning", "tab_failed", t.step, map[string]any{"rank": tab.rank, "code": f.Code}, fmt.Sprintf("rank %d: %s", tab.rank, f.Message)))
		t.mu.Unlock()
		if f.Exit == exit.NoBrowser {
			err = errNoAdapter
		}
	}
	return dead, err
}
