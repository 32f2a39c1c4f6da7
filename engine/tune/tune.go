// Package tune chooses among the variants of a kernel: other tile sizes, or another shader with the same bindings.
//
// A variant whose compilation takes longer than it saves in the whole run is left out (Variant.Pays). Any other must first
// compute a small, awkward problem (Kernel.Sample) on the adapter as the kernel's Go reference does. A variant that is wrong or does not compile is dropped with an event. Where a run repeats a launch often enough to gain
// from it, the remaining variants are timed at the real dimensions within a budget of a few seconds, before the first step.
//
// The choice maps a group of shapes to a variant. It is the table "kernels" in run.json. A run that is given a table uses
// it, and a resumed run uses its checkpoint's. The same adapter and the same run.json therefore use the same kernels.
package tune

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"time"

	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
	"llamatab/engine/tensor"
)

// Options bound a tuner's work.
type Options struct {
	// Budget is how long all sweeps together may take. When it is spent, the first variant that computes right is taken.
	Budget time.Duration
	// Worth is the least number of floating-point operations for which a sweep pays: of a launch, and of all that will be
	// like it.
	Worth, WorthAll float64
	// Repeats is how often a launch will be made.
	Repeats int
	// Report hears of variants that compute wrong or do not compile. It may be nil.
	Report func(kernel, variant string, err error)
}

// Default is what training uses: short beside the time that pipelines take to compile. A software adapter takes about a
// second to compile and time the variants for a group of launches, makes 10 GFLOP a second, and gains a tenth.
var Default = Options{Budget: 5 * time.Second, Worth: 5e7, WorthAll: 1e11, Repeats: math.MaxInt}

// Tuner remembers its choices by kernel and group of shapes.
type Tuner struct {
	dev     device.Device
	opt     Options
	given   map[string]string
	table   map[string]string
	checked map[string]error // by kernel, variant and the op's own parameters
	spent   time.Duration
}

// New makes a tuner that keeps to the choices in table, which may be nil.
func New(dev device.Device, table map[string]string, opt Options) *Tuner {
	return &Tuner{dev: dev, opt: opt, given: table, table: map[string]string{}, checked: map[string]error{}}
}

// Table is the choices so far: group of launches to the name of a variant.
func (t *Tuner) Table() map[string]string { return maps.Clone(t.table) }

// Prepare lets a device that can compile several pipelines at a time do that with all that Choose will look at. It
// implements graph.Binder's Prepare.
func (t *Tuner) Prepare(launches []*device.Launch) error {
	dev, ok := t.dev.(interface {
		Prepare([]*device.Launch) error
	})
	if !ok {
		return nil
	}
	var all []*device.Launch
	for _, l := range launches {
		if len(l.Kernel.Variants) == 0 {
			all = append(all, l)
			continue
		}
		candidates, err := t.candidates(l, groupOf(l))
		if err != nil {
			return err
		}
		if !t.sweeps(l, candidates) {
			candidates = candidates[:min(1, len(candidates))]
		}
		for _, v := range candidates {
			used := *l
			used.Use(v)
			all = append(all, &used)
		}
	}
	return dev.Prepare(all)
}

// groupOf names the launches that take the same variant.
func groupOf(l *device.Launch) string {
	if l.Kernel.ShapeGroup == nil {
		return l.Kernel.Name
	}
	return l.Kernel.Name + "/" + l.Kernel.ShapeGroup(l.Dims, l.Params)
}

// candidates are the variants for a group: the one in the table, or that is given, or all that fit and pay.
func (t *Tuner) candidates(l *device.Launch, group string) (all []device.Variant, err error) {
	k := l.Kernel
	if name, ok := t.table[group]; ok {
		return []device.Variant{named(k, name)}, nil
	}
	if name, ok := t.given[group]; ok {
		v := named(k, name)
		if v.Name == "" {
			return nil, fmt.Errorf("tune: %s: there is no variant %q of %s: remove \"kernels\" from run.json to choose anew", group, name, k.Name)
		}
		return []device.Variant{v}, nil
	}
	for _, v := range k.Variants {
		if (v.Fits == nil || v.Fits(t.dev.Info(), t.dev.Limits(), l.Dims)) && t.pays(l, v) {
			all = append(all, v)
		}
	}
	return all, nil
}

// pays reports whether the run makes so many operations in launches like l that the variant's compilation is worth its time.
// All tabs of a room repeat a launch equally often, so that they choose the same variants.
func (t *Tuner) pays(l *device.Launch, v device.Variant) bool {
	return v.Pays == 0 || l.Kernel.Flops == nil || l.Kernel.Flops(l.Dims)*float64(t.opt.Repeats) >= v.Pays
}

// sweeps reports whether it pays to time the candidates.
func (t *Tuner) sweeps(l *device.Launch, candidates []device.Variant) bool {
	if len(candidates) < 2 || l.Kernel.Flops == nil {
		return false
	}
	n := l.Kernel.Flops(l.Dims)
	return n >= t.opt.Worth && n*float64(t.opt.Repeats) >= t.opt.WorthAll
}

// Choose returns the variant to launch l with. It implements graph.Binder's Choose.
func (t *Tuner) Choose(l *device.Launch) (device.Variant, error) {
	k := l.Kernel
	if t.dev.Info().Backend == "cpu" { // runs Ref, whichever it is
		return k.Variants[0], nil
	}
	group := groupOf(l)
	if name, ok := t.table[group]; ok {
		return named(k, name), nil
	}
	candidates, err := t.candidates(l, group)
	if err != nil {
		return device.Variant{}, err
	}
	v, err := t.best(l, candidates)
	if err != nil {
		return v, fmt.Errorf("tune: %s on %s %s: %w", group, t.dev.Info().Vendor, t.dev.Info().Architecture, err)
	}
	t.table[group] = v.Name
	return v, nil
}

func named(k *device.Kernel, name string) device.Variant {
	for _, v := range k.Variants {
		if v.Name == name {
			return v
		}
	}
	return device.Variant{}
}

// best is the fastest of the candidates that compute right, or the first when time is not worth or not left.
func (t *Tuner) best(l *device.Launch, candidates []device.Variant) (best device.Variant, err error) {
	start := time.Now()
	defer func() { t.spent += time.Since(start) }()
	sweep := t.sweeps(l, candidates)
	fastest := time.Duration(math.MaxInt64)
	var wrong error
	for _, v := range candidates {
		if best.Name != "" && t.spent+time.Since(start) > t.opt.Budget {
			break
		}
		if err := t.check(l, v); err != nil {
			if errors.Is(err, device.ErrLost) {
				return best, err
			}
			wrong = errors.Join(wrong, fmt.Errorf("%s: %w", v.Name, err))
			continue
		}
		if !sweep {
			return v, nil
		}
		took, err := t.time(l, v)
		if err != nil {
			return best, err
		}
		if took < fastest {
			best, fastest = v, took
		}
	}
	if best.Name == "" {
		return best, fmt.Errorf("no variant computes what it should: %w", wrong)
	}
	return best, nil
}

// check runs variant v of the launch's kernel on a sample of random values and compares with the reference.
func (t *Tuner) check(l *device.Launch, v device.Variant) error {
	small, lengths, given := sample(l)
	key := fmt.Sprint(l.Kernel.Name, "/", v.Name, "/", l.Params.Key(), "/", small.Dims)
	if err, ok := t.checked[key]; ok {
		return err
	}
	err := t.compare(small, lengths, given, v)
	if errors.Is(err, device.ErrLost) {
		return err
	}
	t.checked[key] = err
	if err != nil && t.opt.Report != nil {
		t.opt.Report(l.Kernel.Name, v.Name, err)
	}
	return err
}

// sample is a launch on the kernel's sample problem, how long its arguments are, and what those of them hold that random numbers
// cannot fill.
func sample(l *device.Launch) (*device.Launch, []int, map[int][]byte) {
	small := *l
	var lengths []int
	var given map[int][]byte
	if l.Kernel.Sample != nil {
		small.Dims, lengths = l.Kernel.Sample(l.Dims)
		if l.Kernel.SamplePacked != nil {
			r := rand.New(rand.NewPCG(3, 1))
			small.Dims, lengths, given = l.Kernel.SamplePacked(small.Dims, lengths, l.Params, func() float32 { return float32(r.NormFloat64()) })
		}
		return &small, lengths, given
	}
	for _, a := range l.Args {
		lengths = append(lengths, a.Len)
	}
	return &small, lengths, nil
}

// problem is a launch with memory of its own.
type problem struct {
	dev  device.Device
	l    device.Launch
	bufs []device.Buffer
	exe  device.Executable
}

func newProblem(dev device.Device, l *device.Launch, lengths []int, given map[int][]byte, v device.Variant) (*problem, error) {
	p := &problem{dev: dev, l: *l}
	p.l.Use(v)
	p.l.Args = make([]device.Slice, len(lengths))
	for i, n := range lengths {
		b, err := dev.Alloc(device.Spec{DType: l.Args[i].Buf.Spec().DType, Len: n, Kind: device.Staging, Label: "tune " + l.Kernel.Bindings[i].Name})
		if err != nil {
			p.free()
			return nil, err
		}
		p.bufs = append(p.bufs, b)
		p.l.Args[i] = device.All(b)
		if given[i] != nil {
			err = dev.Write(b, 0, given[i])
		} else {
			err = fill(dev, b, uint64(i))
		}
		if err != nil {
			p.free()
			return nil, err
		}
	}
	var err error
	if p.exe, err = dev.Compile("tune "+l.Kernel.Name, []device.Command{{Launch: &p.l}}); err != nil {
		p.free()
		return nil, err
	}
	return p, nil
}

// fill writes values: random ones of about ±1 for numbers, and 0, 1, 2, … for integers, which are positions.
func fill(dev device.Device, b device.Buffer, seed uint64) error {
	s := b.Spec()
	r := rand.New(rand.NewPCG(seed, 1))
	if !s.DType.IsFloat() {
		var ints []byte
		for i := range s.Len {
			ints = binary.LittleEndian.AppendUint32(ints, uint32(i))
		}
		return dev.Write(b, 0, ints)
	}
	x := make([]float32, s.Len)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return dev.Write(b, 0, tensor.EncodeF32(nil, x, s.DType))
}

func (p *problem) free() {
	if p.exe != nil {
		p.exe.Release()
	}
	for _, b := range p.bufs {
		p.dev.Free(b)
	}
}

// tolerance is the largest error of a variant, relative to the largest value: a few times what float32 sums of this
// length lose, and far below what a wrong index gives.
const tolerance = 1e-4

func (t *Tuner) compare(l *device.Launch, lengths []int, given map[int][]byte, v device.Variant) error {
	got, err := newProblem(t.dev, l, lengths, given, v)
	if err != nil {
		return err
	}
	defer got.free()
	want, err := newProblem(cpu.New(), l, lengths, given, v)
	if err != nil {
		return err
	}
	defer want.free()
	for _, p := range []*problem{got, want} {
		if err := p.dev.Submit(device.Work{Run: p.exe}); err != nil {
			return err
		}
		if err := p.dev.Sync(); err != nil {
			return err
		}
	}
	for i, b := range l.Kernel.Bindings {
		if b.Access == device.Read {
			continue
		}
		x, err := got.read(i)
		if err != nil {
			return err
		}
		y, err := want.read(i)
		if err != nil {
			return err
		}
		peak, worst := 0.0, 0.0
		for j := range y {
			peak = max(peak, math.Abs(float64(y[j])))
			if d := math.Abs(float64(x[j]) - float64(y[j])); !(d <= worst) {
				worst = d
			}
		}
		if !(worst <= tolerance*(peak+1e-3)) {
			return fmt.Errorf("%s is off by %.3g where the largest value is %.3g", b.Name, worst, peak)
		}
	}
	return nil
}

func (p *problem) read(i int) ([]float32, error) {
	s := p.l.Args[i]
	raw, err := p.dev.Read(s.Buf, s.Off, s.Len)
	if err != nil {
		return nil, err
	}
	x := make([]float32, s.Len)
	return x, tensor.DecodeF32(x, raw, s.Buf.Spec().DType)
}

// time is how long one launch takes at its real dimensions, in the memory that it will use. Whatever it writes is
// written again before anybody reads it, since tuning comes before the first step.
func (t *Tuner) time(l *device.Launch, v device.Variant) (time.Duration, error) {
	timed := *l
	timed.Use(v)
	exe, err := t.dev.Compile("tune "+l.Kernel.Name, []device.Command{{Launch: &timed}})
	if err != nil {
		return 0, err
	}
	defer exe.Release()
	if m, ok := t.dev.(interface {
		Measure(work ...device.Work) (time.Duration, error)
	}); ok {
		return m.Measure(device.Work{Run: exe})
	}
	start := time.Now()
	if err := t.dev.Submit(device.Work{Run: exe}); err != nil {
		return 0, err
	}
	err = t.dev.Sync()
	return time.Since(start), err
}
