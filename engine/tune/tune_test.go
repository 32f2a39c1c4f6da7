package tune

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
	"llamatab/engine/enginetest"
)

// fake is the reference device in the role of an adapter: a variant costs what its parameter COST says, does nothing
// where WRONG is set, and does not compile where BROKEN is.
type fake struct {
	*cpu.Device
	cost     map[device.Executable]time.Duration
	measured []string
	prepared []string // variants
	lost     bool
}

func newFake() *fake { return &fake{Device: cpu.New(), cost: map[device.Executable]time.Duration{}} }

func (f *fake) Info() device.Info {
	return device.Info{Backend: "webgpu", Vendor: "fake", Architecture: "test"}
}

func (f *fake) Compile(label string, cmds []device.Command) (device.Executable, error) {
	l := *cmds[0].Launch
	if f.lost {
		return nil, fmt.Errorf("fake: %w", device.ErrLost)
	}
	if l.Params.Bool("BROKEN") {
		return nil, errors.New("fake: no such instruction")
	}
	if l.Params.Bool("WRONG") {
		k := *l.Kernel
		k.Ref = func(*device.Call) {}
		l.Kernel = &k
	}
	exe, err := f.Device.Compile(label, []device.Command{{Launch: &l}})
	f.cost[exe] = time.Duration(l.Params.Int("COST", 1)) * time.Millisecond
	return exe, err
}

func (f *fake) Measure(work ...device.Work) (time.Duration, error) {
	f.measured = append(f.measured, f.cost[work[0].Run].String())
	return f.cost[work[0].Run], f.Submit(work...)
}

func (f *fake) Prepare(launches []*device.Launch) error {
	for _, l := range launches {
		f.prepared = append(f.prepared, fmt.Sprint(l.Dims.(dims).C, "/", l.Params.Int("COST", 0)))
	}
	return nil
}

type dims struct{ N, C uint32 }

// columns is the sum over rows, for which the shader has one parameter, the workgroup size.
func columns(variants ...device.Variant) *device.Kernel {
	return &device.Kernel{
		Name: "columns", Shader: "sum_rows", Entry: "sum_rows",
		Bindings: []device.Binding{{Name: "x", Access: device.Read}, {Name: "out", Access: device.Write}},
		Grid: func(d any, p device.Params) [3]int {
			return device.Groups(device.CeilDiv(int(d.(dims).C), max(p.Int("WG", 64), 64))) // too few for less than 64
		},
		Flops:      func(d any) float64 { return float64(d.(dims).N * d.(dims).C) },
		ShapeGroup: func(d any, _ device.Params) string { return fmt.Sprint("c", d.(dims).C) },
		Sample:     func(any) (any, []int) { return dims{5, 131}, []int{5 * 131, 131} },
		Variants:   variants,
		Ref: func(c *device.Call) {
			d, x, out := c.Dims.(dims), c.F(0), c.F(1)
			clear(out)
			for i, v := range x {
				out[i%int(d.C)] += v
			}
		},
	}
}

// launch is a sum over 64 rows of C columns with memory on dev.
func launch(t *testing.T, dev device.Device, k *device.Kernel, C int) *device.Launch {
	t.Helper()
	l := &device.Launch{Kernel: k, Dims: dims{64, uint32(C)}}
	for _, n := range []int{64 * C, C} {
		b, err := dev.Alloc(device.Spec{Len: n, Label: "test"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dev.Free(b) })
		l.Args = append(l.Args, device.All(b))
	}
	return l
}

func variant(name string, cost int, more device.Params) device.Variant {
	return device.Variant{Name: name, Params: device.Params{"COST": cost}.With(more)}
}

var always = Options{Budget: time.Minute, Worth: 1}

func TestChoose(t *testing.T) {
	slow, fast := variant("slow", 9, nil), variant("fast", 2, nil)
	wrong, broken := variant("wrong", 1, device.Params{"WRONG": true}), variant("broken", 1, device.Params{"BROKEN": true})
	misfit := variant("misfit", 1, nil)
	misfit.Fits = func(device.Info, device.Limits, any) bool { return false }
	for _, c := range []struct {
		name     string
		variants []device.Variant
		given    string
		opt      Options
		want     string
		reports  string // variants that Report heard of
		err      string
	}{
		{"fastest", []device.Variant{slow, fast}, "", always, "fast", "", ""},
		{"misfit", []device.Variant{misfit, slow}, "", always, "slow", "", ""},
		{"wrong", []device.Variant{wrong, broken, slow, fast}, "", always, "fast", "wrong broken", ""},
		{"too small to time", []device.Variant{slow, fast}, "", Options{Budget: time.Minute, Worth: 1e12}, "slow", "", ""},
		{"too small to time, wrong", []device.Variant{wrong, slow, fast}, "", Options{Budget: time.Minute, Worth: 1e12}, "slow", "wrong", ""},
		{"no time", []device.Variant{wrong, slow, fast}, "", Options{Worth: 1}, "slow", "wrong", ""},
		{"given", []device.Variant{slow, fast}, "slow", always, "slow", "", ""},
		{"unknown", []device.Variant{slow, fast}, "quick", always, "", "", `columns/c100: there is no variant "quick" of columns`},
		{"given is wrong", []device.Variant{slow, wrong}, "wrong", always, "", "wrong", "columns/c100 on fake test"},
		{"all wrong", []device.Variant{wrong, broken}, "", always, "", "wrong broken", "no such instruction"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev, heard := newFake(), []string{}
			c.opt.Report = func(_, variant string, err error) { heard = append(heard, variant) }
			var given map[string]string
			if c.given != "" {
				given = map[string]string{"columns/c100": c.given}
			}
			tuner := New(dev, given, c.opt)
			v, err := tuner.Choose(launch(t, dev, columns(c.variants...), 100))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one with %q", err, c.err)
				}
			} else if err != nil {
				t.Fatal(err)
			} else if v.Name != c.want || tuner.Table()["columns/c100"] != c.want {
				t.Errorf("chose %q, table %v, want %q", v.Name, tuner.Table(), c.want)
			}
			if got := strings.Join(heard, " "); got != c.reports {
				t.Errorf("reported %q, want %q", got, c.reports)
			}
			if used := dev.Usage().Map()["staging"]; used != 0 {
				t.Errorf("%d bytes of the samples are still allocated", used)
			}
		})
	}
}

// A group of shapes is swept once, and a table that came out of one run makes the next choose the same without any sweep.
func TestChooseAgain(t *testing.T) {
	dev := newFake()
	k := columns(variant("slow", 9, nil), variant("fast", 2, nil))
	first := New(dev, nil, always)
	for _, C := range []int{100, 100, 200} {
		if _, err := first.Choose(launch(t, dev, k, C)); err != nil {
			t.Fatal(err)
		}
	}
	if len(dev.measured) != 4 {
		t.Errorf("measured %v, want each variant once for each of 2 groups", dev.measured)
	}
	dev.measured = nil
	second := New(dev, first.Table(), always)
	for _, C := range []int{200, 100} {
		if v, err := second.Choose(launch(t, dev, k, C)); err != nil || v.Name != "fast" {
			t.Errorf("%d columns: %q, %v", C, v.Name, err)
		}
	}
	if len(dev.measured) != 0 || !maps.Equal(first.Table(), second.Table()) {
		t.Errorf("measured %v; tables %v and %v", dev.measured, first.Table(), second.Table())
	}
}

// A lost device ends the search and is not held against the variant.
func TestChooseLost(t *testing.T) {
	dev := newFake()
	l := launch(t, dev, columns(variant("one", 1, nil), variant("two", 1, nil)), 100)
	dev.lost = true
	tuner := New(dev, nil, Options{Budget: time.Minute, Worth: 1, Report: func(_, v string, err error) { t.Errorf("%s reported: %v", v, err) }})
	if _, err := tuner.Choose(l); !errors.Is(err, device.ErrLost) {
		t.Fatalf("error %v, want a lost device", err)
	}
}

// TestChooseOnDevices runs a real sweep where there is an adapter: the variant that leaves out columns is found out.
func TestChooseOnDevices(t *testing.T) {
	k := columns(
		device.Variant{Name: "wrong", Params: device.Params{"WG": 16}},
		device.Variant{Name: "wg64"},
		device.Variant{Name: "wg128", Params: device.Params{"WG": 128}},
	)
	for _, dev := range enginetest.Devices(t) {
		heard := 0
		opt := Options{Budget: 20 * time.Second, Worth: 1, Report: func(string, string, error) { heard++ }}
		tuner := New(dev, nil, opt)
		l := launch(t, dev, k, 300)
		v, err := tuner.Choose(l)
		if err != nil {
			t.Fatal(err)
		}
		if dev.Info().Backend == "cpu" {
			if v.Name != "wrong" || len(tuner.Table()) != 0 {
				t.Errorf("the reference device chose %q, table %v", v.Name, tuner.Table())
			}
			continue
		}
		if v.Name == "wrong" || heard != 1 {
			t.Errorf("chose %q after %d reports", v.Name, heard)
		}
		again, err := New(dev, tuner.Table(), opt).Choose(l)
		if err != nil || again.Name != v.Name {
			t.Errorf("with the table of the first sweep: %q, %v, want %q", again.Name, err, v.Name)
		}
	}
}

// A variant that compiles slowly is taken from the work on that saves more time than the compilation takes.
func TestChoosePays(t *testing.T) {
	slow := variant("slow to compile", 1, nil)
	slow.Pays = 64 * 100 * 5 // operations of five launches on 100 columns
	k := columns(slow, variant("fast to compile", 9, nil))
	for repeats, want := range map[int]string{0: "fast to compile", 4: "fast to compile", 5: "slow to compile"} {
		dev := newFake()
		v, err := New(dev, nil, Options{Budget: time.Minute, Worth: math.Inf(1), Repeats: repeats}).Choose(launch(t, dev, k, 100))
		if err != nil || v.Name != want {
			t.Errorf("repeated %d times: %q (%v), want %q", repeats, v.Name, err, want)
		}
	}
}

// All that Choose will look at is prepared, and nothing else: the candidates of a sweep, the one that fits, what is given.
func TestPrepare(t *testing.T) {
	misfit := variant("misfit", 7, nil)
	misfit.Fits = func(device.Info, device.Limits, any) bool { return false }
	k := columns(misfit, variant("slow", 9, nil), variant("fast", 2, nil))
	dev := newFake()
	launches := []*device.Launch{launch(t, dev, columns(), 300), launch(t, dev, k, 200), launch(t, dev, k, 10), launch(t, dev, k, 100)}
	tuner := New(dev, map[string]string{"columns/c100": "fast"}, Options{Budget: time.Minute, Worth: 1, WorthAll: 64 * 150 * 5, Repeats: 5})
	if err := tuner.Prepare(launches); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(dev.prepared), "[300/0 200/9 200/2 10/9 100/2]"; got != want {
		t.Errorf("prepared %s, want %s", got, want)
	}
}
