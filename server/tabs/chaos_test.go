//go:build linux

package tabs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"llamatab/engine/message"
	"llamatab/server/headless"
	"llamatab/server/inputs"
	"llamatab/server/room"
	"llamatab/server/runner"
	"llamatab/server/servertest"
)

// These tests inject faults into runs over tabs of a real Chromium, in every phase of the protocol: tabs are killed, frozen
// and disconnected. The output must have the bits of an undisturbed run. A fault strikes when the room logs the moment that
// it is meant for, and not after a fixed time.

// fault is a fault that is injected into a run.
type fault struct {
	name string
	at   string // the code of the log record at which it strikes
	from uint64 // the first step in which it may strike
	// strike injects the fault into the tab of this renderer, while the room waits. heal has what to do later, by the code
	// of the log record at which it is done.
	strike  func(c *chaos, pid int) (heal map[string]func())
	joining bool     // it strikes a tab that has just joined
	loading bool     // it strikes while the tabs load, before the first has joined
	story   []string // codes of events that must follow, in this order; "a|b" is either of them
}

// victim is a tab and its process.
type victim struct {
	rank int
	pid  int // of its renderer
}

// chaos is a run with faults. It is the slog.Handler of the room's log.
type chaos struct {
	slog.Handler // the run's own
	t            *testing.T
	run          *tabsRun
	tabs         int
	wire         *wire

	asking sync.Mutex // held while a page is identified, which works for one page at a time

	mu      sync.Mutex
	faults  []*fault // faults that have not struck yet
	struck  []string
	heal    map[string]func()
	victims map[uint32]victim // tabs in the room whose renderers are known
	in      map[uint32]bool
	hurt    bool // a fault has struck, and not all tabs are back
	paused  bool
	unnamed bool // faults strike processes that need not be identified, so no tab's renderer is looked for
}

// there counts the tabs that are in the room and can be struck.
func (c *chaos) there() int {
	if c.unnamed {
		return len(c.in)
	}
	return len(c.victims)
}

func (c *chaos) Enabled(context.Context, slog.Level) bool { return true }
func (c *chaos) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c *chaos) WithGroup(string) slog.Handler            { return c }

// Handle is called by the room, which waits for it.
func (c *chaos) Handle(ctx context.Context, r slog.Record) error {
	var code string
	var step uint64
	var tab uint32
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "code":
			code = a.Value.String()
		case "step":
			step = a.Value.Uint64()
		case "tab":
			tab = uint32(a.Value.Uint64())
		}
		return true
	})
	c.noted(code, step, tab, r.Message)
	if !c.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return c.Handler.Handle(ctx, r)
}

// noted lets the next fault strike if the log record is the one that it waits for. Faults strike one after another, and
// only while all tabs are in the room. After a fault the run is paused after its next step until all tabs are back, so
// that steps are left for the next fault.
func (c *chaos) noted(code string, step uint64, tab uint32, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch code {
	case "joined":
		if c.in[tab] = true; c.unnamed {
			c.recovered()
		} else {
			go c.find(tab, rankIn(text))
		}
	case "gone":
		delete(c.in, tab)
		delete(c.victims, tab)
		c.hurt = c.hurt || c.unnamed && len(c.struck) > 0
	case room.Commits:
		if c.hurt && !c.paused {
			c.paused = true
			go c.run.host.Ask(room.Pause, 0)
		}
	}
	if f := c.heal[code]; f != nil {
		c.heal = nil // the other ways to heal the fault are dropped
		f()
		c.recovered()
	}
	if len(c.faults) == 0 || len(c.heal) > 0 {
		return
	}
	f := c.faults[0]
	if code != f.at || step < f.from || f.loading {
		return
	}
	pid := c.victims[tab].pid
	switch {
	case c.unnamed && !f.joining && c.there() < c.tabs:
		return
	case c.unnamed:
		pid = -1
	case f.joining && pid == 0:
		c.mu.Unlock()
		pid = c.identify(rankIn(text))
		c.mu.Lock()
	case c.there() < c.tabs:
		return
	case tab == 0: // a record without a tab: the fault strikes the lead tab
		c.run.mu.Lock()
		lead := c.run.lead().rank
		c.run.mu.Unlock()
		for _, v := range c.victims {
			if v.rank == lead {
				pid = v.pid
			}
		}
	}
	if pid == 0 {
		return
	}
	c.faults = c.faults[1:]
	c.struck = append(c.struck, fmt.Sprintf("%s at step %d", f.name, step))
	c.hurt = !c.unnamed // else it is when a tab goes: not every process takes one along
	c.heal = f.strike(c, pid)
}

// find identifies the process of a tab that has joined.
func (c *chaos) find(tab uint32, rank int) {
	pid := c.identify(rank)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in[tab] && pid != 0 {
		c.victims[tab] = victim{rank, pid}
		c.recovered()
	}
}

// recovered resumes a paused run once all tabs are back.
func (c *chaos) recovered() {
	if !c.hurt || c.there() < c.tabs || len(c.heal) > 0 {
		return
	}
	c.hurt = false
	if c.paused {
		c.paused = false
		go c.run.host.Ask(room.Resume, 0)
	}
}

var rankInText = regexp.MustCompile(`\((rank \d+)\)`)

// rankIn is the rank of the tab that a log record names.
func rankIn(text string) int {
	rank, _ := rankOf(rankInText.FindStringSubmatch(text)[1])
	return rank
}

// identify finds the renderer process of a rank. It lets the tab's page compute, and returns the process whose main thread
// used the processor. 0 means that the tab is gone.
func (c *chaos) identify(rank int) int {
	c.asking.Lock()
	defer c.asking.Unlock()
	c.run.mu.Lock()
	var b *headless.Browser
	for _, t := range c.run.tabs {
		if t.rank == rank && !t.ended {
			b = t.browser
		}
	}
	c.run.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), servertest.Patience)
	defer cancel()
	for b != nil && ctx.Err() == nil {
		before := mainThreads()
		var n float64
		if b.Evaluate(ctx, `(() => { let x = 0; for (let i = 0; i < 1e8; i++) x += i ^ 5; return x; })()`, &n) != nil {
			return 0
		}
		best, most, next := 0, 0, 0
		for pid, ticks := range mainThreads() {
			switch d := ticks - before[pid]; {
			case d > most:
				best, most, next = pid, d, most
			case d > next:
				next = d
			}
		}
		if most >= 5 && most > 2*next {
			return best
		}
	}
	return 0
}

// mainThreads are the processor ticks of the main threads of this test's renderers, by process.
func mainThreads() map[int]int {
	ticks := map[int]int{}
	for pid, command := range chromium() {
		if strings.Contains(command, "--type=renderer") {
			if fields := statOf(fmt.Sprintf("/proc/%d/task/%d/stat", pid, pid)); fields != nil {
				ticks[pid] = fields[1]
			}
		}
	}
	return ticks
}

// chromium are the command lines of all processes that this test has started, directly or not, by process.
func chromium() map[int]string {
	parents, commands := map[int]int{}, map[int]string{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if fields := statOf(name); fields != nil {
			parents[pid] = fields[0]
		}
	}
	ours := func(pid int) bool {
		for range 10 {
			if pid = parents[pid]; pid == os.Getpid() {
				return true
			}
		}
		return false
	}
	for pid := range parents {
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && len(line) > 0 && ours(pid) {
			commands[pid] = string(bytes.ReplaceAll(line, []byte{0}, []byte(" ")))
		}
	}
	return commands
}

// statOf reads the parent and the processor time from a stat file, nil where the process is gone.
func statOf(name string) []int {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:])) // fields from number 3 on
	if len(fields) < 13 {
		return nil
	}
	number := func(i int) int { n, _ := strconv.Atoi(fields[i]); return n }
	return []int{number(1), number(11) + number(12)}
}

// wire is the server's listener, which can cut the sockets of tabs.
type wire struct {
	net.Listener
	mu    sync.Mutex
	conns map[*wireConn]bool
}

type wireConn struct {
	net.Conn
	wire *wire
	once sync.Once
	path string // of the connection's first request
	read time.Time
}

func (w *wire) Accept() (net.Conn, error) {
	n, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &wireConn{Conn: n, wire: w}
	w.mu.Lock()
	w.conns[c] = true
	w.mu.Unlock()
	return c, nil
}

func (c *wireConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	c.once.Do(func() {
		if fields := strings.Fields(string(b[:n])); len(fields) > 1 {
			c.path = fields[1]
		}
	})
	c.read = time.Now()
	return n, err
}

func (c *wireConn) Close() error {
	c.wire.mu.Lock()
	delete(c.wire.conns, c)
	c.wire.mu.Unlock()
	return c.Conn.Close()
}

// cut closes the control or data socket on which bytes came last, as a broken network does.
func (w *wire) cut(socket string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var last *wireConn
	for c := range w.conns {
		if strings.HasSuffix(c.path, "/"+socket) && (last == nil || c.read.After(last.read)) {
			last = c
		}
	}
	last.Conn.(*net.TCPConn).SetLinger(0)
	last.Conn.Close()
}

// Faults.

func kill(name, at string, from uint64) *fault {
	return &fault{name: "a tab killed " + name, at: at, from: from, story: []string{"tab_left"},
		strike: func(_ *chaos, pid int) map[string]func() {
			syscall.Kill(pid, syscall.SIGKILL)
			return nil
		}}
}

// killNew kills a tab that has just joined.
func killNew(name, at string, from uint64) *fault {
	f := kill(name, at, from)
	f.joining = true
	return f
}

// freeze stops a renderer until the room gives its slots to other tabs as well, or removes it because its gradients do not
// come.
func freeze(name, at string, from uint64) *fault {
	return &fault{name: "a tab frozen " + name, at: at, from: from, story: []string{"copied|stalled"},
		strike: func(c *chaos, pid int) map[string]func() {
			syscall.Kill(pid, syscall.SIGSTOP)
			thaw := func() { syscall.Kill(pid, syscall.SIGCONT) }
			c.t.Cleanup(thaw)
			return map[string]func(){"copied": thaw, "stalled": thaw}
		}}
}

// freezeMinute stops a renderer for a minute.
func freezeMinute(name, at string, from uint64) *fault {
	f := freeze(name, at, from)
	f.name, f.story = "a tab frozen for a minute "+name, []string{"tab_left", "tab_joined"}
	strike := f.strike
	f.strike = func(c *chaos, pid int) map[string]func() {
		strike(c, pid)
		time.AfterFunc(time.Minute, func() { syscall.Kill(pid, syscall.SIGCONT) })
		return nil
	}
	return f
}

// killBrowser kills the browser with all its tabs.
func killBrowser(name, at string, from uint64) *fault {
	f := killProcess("", 0, "the browser killed "+name, at, from)
	f.story = []string{"browser_ended", "tab_joined"}
	return f
}

// killProcess kills the n-th process of the browser, by age, whose command line contains what is given; "" is the browser itself.
func killProcess(what string, n int, name, at string, from uint64) *fault {
	return &fault{name: name, at: at, from: from,
		strike: func(c *chaos, _ int) map[string]func() {
			var list []int
			for pid, command := range chromium() {
				if what == "" && !strings.HasPrefix(command, "/bin/sh") && !strings.Contains(command, "--type=") && strings.Contains(command, "--user-data-dir=") || what != "" && strings.Contains(command, what) {
					list = append(list, pid)
				}
			}
			slices.Sort(list)
			if n >= len(list) {
				c.t.Errorf("%s: there are %d processes with %q", name, len(list), what)
				return nil
			}
			syscall.Kill(list[n], syscall.SIGKILL)
			return nil
		}}
}

// whileLoading lets a fault that is meant for tabs that load strike once the last of them has a process.
func (c *chaos) whileLoading() {
	for {
		time.Sleep(5 * time.Millisecond)
		c.run.mu.Lock()
		opened := len(c.run.tabs)
		c.run.mu.Unlock()
		if opened < c.tabs || len(mainThreads()) <= c.tabs { // beside the blank tab
			continue
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		f := c.faults[0]
		c.faults, c.struck = c.faults[1:], append(c.struck, f.name)
		f.strike(c, 0)
		return
	}
}

func cut(socket, at string, from uint64) *fault {
	return &fault{name: "a " + socket + " socket cut", at: at, from: from, story: []string{"tab_left", "tab_joined"},
		strike: func(c *chaos, _ int) map[string]func() {
			c.wire.cut(socket)
			return nil
		}}
}

// through trains a config over tabs of a browser of this process, injects the faults, and returns the output folder.
func through(t *testing.T, cfg map[string]any, tabs int, faults ...*fault) string {
	t.Helper()
	dir := t.TempDir()
	data, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	file, out := filepath.Join(dir, "run.json"), filepath.Join(dir, "out")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	conf, m, err := inputs.LoadConfig(file, "", nil, nil)
	if err == nil {
		err = Share(conf, tabs)
	}
	if err != nil {
		t.Fatal(err)
	}
	resolved, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	run, rc, err := newTabsRun(conf, m, message.Job{Command: message.Train, Config: resolved}, out)
	if err != nil {
		t.Fatal(err)
	}
	rc.Run.Checkpoint, rc.Run.Piece = 2, 500 // several checkpoints, and several pieces in a gradient
	c := &chaos{Handler: run.roomLog, t: t, run: run, tabs: tabs, faults: faults, victims: map[uint32]victim{}, in: map[uint32]bool{}, wire: &wire{conns: map[*wireConn]bool{}}}
	c.unnamed = len(faults) > 0 && faults[0].loading
	run.roomLog = c
	if c.unnamed {
		go c.whileLoading()
	}
	run.listen = func() (net.Listener, error) {
		c.wire.Listener, err = listenLocal()
		return c.wire, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if err := run.train(ctx, rc, runner.Browser{Chrome: os.Getenv("CHROME"), Backend: "swiftshader"}); err != nil {
		t.Fatalf("after %v: %v", c.struck, err)
	}
	t.Logf("survived: %s", strings.Join(c.struck, "; "))
	if len(c.faults) > 0 {
		t.Errorf("the run was over before these: %s", c.faults[0].name)
	}
	story := servertest.Codes(t, out)
	for _, f := range faults {
		for _, code := range f.story {
			i := slices.IndexFunc(story, func(c string) bool { return slices.Contains(strings.Split(code, "|"), c) })
			if i < 0 {
				t.Errorf("%s: the record does not tell of %s any more: it says %v", f.name, code, servertest.Codes(t, out))
				break
			}
			story = story[i+1:]
		}
	}
	return out
}

// chaosConfig is a short run that fine-tunes all weights of the committed model, or a LoRA adapter, under a strategy. It is
// evaluated before the first step and every third step.
func chaosConfig(t *testing.T, strategy string, lora bool, steps int) map[string]any {
	t.Helper()
	cfg := servertest.TinyConfig(t)
	tr := cfg["training"].(map[string]any)
	tr["per_device_train_batch_size"], tr["max_steps"], tr["eval_steps"], tr["eval_on_start"] = 1, steps, 3, true
	cfg["dataset"].(map[string]any)["validation_split"] = 0.02
	if lora {
		cfg["peft"] = map[string]any{"peft_type": "LORA", "r": 4, "lora_dropout": 0.1, "target_modules": "all-linear"}
	} else {
		cfg["trainable"] = []string{"all"}
	}
	cfg["fsdp"] = map[string]any{"slots": 4, "sharding_strategy": strategy}
	return cfg
}

// TestChaos injects a fault into one phase of a run after another.
func TestChaos(t *testing.T) {
	cfg := chaosConfig(t, servertest.Strategies[len(servertest.Strategies)-1], false, 18)
	servertest.SameRun(t, through(t, cfg, 3,
		kill("computing", room.Computes, 1),
		kill("while its gradient is pulled", room.Pulled, 2),
		kill("updating", room.Updates, 3),
		kill("evaluating", room.Evaluates, 3),
		kill("while it serves its state for a checkpoint", room.Saves, 4),
		killNew("while it receives a state", room.Recovering, 4),
		cut("data", room.Pulled, 5),
		freeze("computing, until others do its work", room.Computes, 6),
		killBrowser("computing", room.Computes, 7),
		kill("about to write the result", "done", 0),
	), through(t, cfg, 1))
}

// commits counts the committed steps and the complete checkpoints in the log of a run's room.
func commits(out string) (steps, saved int) {
	data, _ := os.ReadFile(filepath.Join(out, roomDir, roomID, "log"))
	return bytes.Count(data, []byte(`"kind":"committed"`)), bytes.Count(data, []byte(`"kind":"saved"`))
}

// TestKilledProgram kills the program in the middle of a run over tabs and starts it again.
func TestKilledProgram(t *testing.T) {
	killProgram(t, chaosConfig(t, servertest.Strategies[len(servertest.Strategies)-1], false, 12), func(steps, _ int) bool { return steps >= 5 })
}

// TestChaosMatrix injects each fault alone into runs of every strategy, over all weights and over LoRA, and kills the program
// up to three times.
func TestChaosMatrix(t *testing.T) {
	if !servertest.Soak {
		t.Skip("one of the long tests")
	}
	for _, strategy := range servertest.Strategies {
		for method, lora := range map[string]bool{"full": false, "lora": true} {
			cfg := chaosConfig(t, strategy, lora, 10)
			want := through(t, cfg, 1)
			faults := []func() []*fault{
				func() []*fault { return []*fault{kill("told to compute", room.Given, 2)} },
				func() []*fault { return []*fault{kill("computing", room.Computes, 2)} },
				func() []*fault { return []*fault{kill("evaluating", room.Evaluates, 2)} },
				func() []*fault { return []*fault{kill("while its gradient is pulled", room.Pulled, 2)} },
				func() []*fault { return []*fault{kill("between its gradient and the commit", room.Folded, 2)} },
				func() []*fault { return []*fault{kill("updating", room.Updates, 2)} },
				func() []*fault { return []*fault{kill("while it serves its state for a checkpoint", room.Saves, 2)} },
				func() []*fault {
					return []*fault{kill("computing", room.Computes, 3), killNew("while it receives a state", room.Recovering, 3)}
				},
				func() []*fault { return []*fault{cut("data", room.Pulled, 2)} },
				func() []*fault { return []*fault{cut("control", room.Computes, 2)} },
				func() []*fault { return []*fault{freeze("computing, until others do its work", room.Computes, 2)} },
				func() []*fault { return []*fault{freezeMinute("computing", room.Computes, 2)} },
				func() []*fault { return []*fault{kill("about to write the result", "done", 0)} },
			}
			if strategy != "NO_SHARD" {
				faults = append(faults,
					func() []*fault { return []*fault{kill("while its new parameters are pulled", room.Publishes, 2)} },
					func() []*fault { return []*fault{kill("gathering parameters", room.Gathers, 2)} })
			}
			for _, make := range faults {
				list := make()
				t.Run(strategy+"/"+method+"/"+list[len(list)-1].name, func(t *testing.T) { servertest.SameRun(t, through(t, cfg, 3, list...), want) })
			}
			t.Run(strategy+"/"+method+"/alone, and frozen for a minute", func(t *testing.T) {
				servertest.SameRun(t, through(t, cfg, 1, freezeMinute("computing", room.Computes, 2)), want)
			})
			t.Run(strategy+"/"+method+"/the program killed", func(t *testing.T) {
				killProgram(t, chaosConfig(t, strategy, lora, 56), func(steps, _ int) bool { return steps >= 5 },
					func(steps, saved int) bool { return saved >= 1 }, func(steps, _ int) bool { return steps >= 53 })
			})
		}
	}
}

// TestKillMatrix kills each process of the browser in each phase of a run over three tabs, one at a time.
func TestKillMatrix(t *testing.T) {
	if !servertest.Soak {
		t.Skip("one of the long tests")
	}
	phases := []struct {
		name, at string
		from     uint64
	}{
		{"loading", "", 0}, {"joining", "joined", 0}, {"in the first step", room.Computes, 0}, {"gathering", room.Gathers, 1}, {"reducing", room.Folded, 2},
		{"evaluating", room.Evaluates, 3}, {"saving a checkpoint", room.Saves, 4}, {"at the end", "done", 0},
	}
	const renderer, network = "--type=renderer", "--utility-sub-type=network." // the only utility process that a headless Chromium has
	processes := []struct {
		name, what string
		n          int
	}{
		{"the browser", "", 0}, {"the GPU's process", "--type=gpu-process", 0}, {"the network's process", network, 0},
		{"the blank tab", renderer, 0}, {"the first tab", renderer, 1}, {"the second tab", renderer, 2}, {"the third tab", renderer, 3},
	}
	cfg := chaosConfig(t, "FULL_SHARD", false, 10)
	want := through(t, cfg, 1)
	for _, p := range processes {
		t.Run(p.name, func(t *testing.T) {
			var faults []*fault
			for i, phase := range phases {
				f := killProcess(p.what, p.n, p.name+" killed "+phase.name, phase.at, phase.from)
				f.loading, f.joining = i == 0, i == 1
				faults = append(faults, f)
			}
			servertest.SameRun(t, through(t, cfg, 3, faults...), want)
		})
	}
}

// killProgram kills a run of two tabs when each condition of when holds, leaves a torn log, and starts it again.
func killProgram(t *testing.T, cfg map[string]any, when ...func(steps, saved int) bool) {
	t.Helper()
	cfg["fsdp"].(map[string]any)["world_size"] = 2
	want := servertest.Train(t, cfg)
	temp := t.TempDir()
	file, out := filepath.Join(temp, "run.json"), filepath.Join(temp, "out")
	data, _ := json.Marshal(cfg)
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, now := range when {
		c := exec.Command(servertest.Binary(t), "train", "--config", file, "--out", out)
		c.Env = append(os.Environ(), "LLAMATAB_ADAPTER_BACKEND=swiftshader")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		for poll := time.NewTicker(5 * time.Millisecond); !now(commits(out)); {
			select {
			case err := <-ended:
				t.Fatalf("the run ended before it was killed: %v", err)
			case <-poll.C:
			}
		}
		c.Process.Kill()
		<-ended
		steps, saved := commits(out)
		t.Logf("killed after %d commits and %d checkpoints", steps, saved)
		servertest.TearLog(t, filepath.Join(out, roomDir, roomID, "log"))
	}
	servertest.Run(t, "", "train", "--config", file, "--out", out)
	servertest.SameRun(t, out, want.Dir)
	story := slices.DeleteFunc(servertest.Codes(t, out), func(code string) bool { return code != "resumed" })
	if len(story) != len(when) {
		t.Errorf("the record tells of %d resumptions, there were %d", len(story), len(when))
	}
}
