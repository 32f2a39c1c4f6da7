package enginetest

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
	"llamatab/engine/graph"
	"llamatab/engine/quant"
	"llamatab/engine/tensor"
)

// Rand makes the random shapes and values of a case. Its seed is logged when a case fails.
type Rand struct{ *rand.Rand }

// NewRand makes a source that always gives the same values for the same seed.
func NewRand(seed uint64) *Rand { return &Rand{rand.New(rand.NewPCG(seed, 0x6c6c616d61))} }

// Dim is a random dimension in [lo, hi]. Half of the time it is one at which kernels tend to fail: an end, a power of two, a
// neighbour of one, or a prime.
func (r *Rand) Dim(lo, hi int) int {
	awkward := []int{lo, hi, 1, 3, 5, 7, 13, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 255, 257}
	if r.IntN(2) == 0 {
		if d := awkward[r.IntN(len(awkward))]; d >= lo && d <= hi {
			return d
		}
	}
	return lo + r.IntN(hi-lo+1)
}

// Floats is n values, normal with deviation scale.
func (r *Rand) Floats(n int, scale float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * scale)
	}
	return x
}

// Input is one argument of a case.
type Input struct {
	Shape  tensor.Shape
	DType  tensor.DType // F32, BF16 or, with Ints, I32
	Floats []float32
	Ints   []int32
	Frozen bool         // it needs no gradient
	Quant  quant.Format // of a frozen matrix that is quantised
}

// F is an input with a gradient.
func (r *Rand) F(dims ...int) Input {
	s := tensor.Of(dims...)
	return Input{Shape: s, Floats: r.Floats(s.Size(), 1)}
}

// Frozen is an input without a gradient.
func (r *Rand) Frozen(dims ...int) Input { i := r.F(dims...); i.Frozen = true; return i }

// BF16 is a frozen input stored as bfloat16.
func (r *Rand) BF16(dims ...int) Input { i := r.Frozen(dims...); i.DType = tensor.BF16; return i }

// Quantized is a frozen matrix that is stored in a format.
func (r *Rand) Quantized(f quant.Format, rows, cols int) Input {
	i := r.Frozen(rows, cols)
	i.Quant = f
	return i
}

// Ints is an integer input.
func Ints(x []int32, dims ...int) Input {
	return Input{Shape: tensor.Of(dims...), DType: tensor.I32, Ints: x, Frozen: true}
}

// Case is one computation with its inputs.
type Case struct {
	Name string
	In   []Input
	// Fn records the computation and returns its outputs. Those that need a gradient get a random one.
	Fn  func(t *graph.Tape, in []graph.Var) []graph.Var
	Tol Tolerance
	// NoGradient skips the backward pass, for ops that have none.
	NoGradient bool
	// Ones makes the gradient of every output 1, for a loss, which is the root of the backward pass.
	Ones bool
	// Products are the variants in which matrix products run. The long tests ignore it and take all.
	Products Products
}

// Products says in which variants a case runs matrix products. A software adapter compiles some of them for seconds.
type Products int

const (
	// FastProducts is the one variant that a software adapter compiles fast. Products have tests of their own.
	FastProducts Products = iota
	// ProductsOfEachShader is the first variant of each shader: the others of a shader differ in the sizes of tiles.
	ProductsOfEachShader
	// AllProducts is every variant.
	AllProducts
)

// leastProducts are the products that every case runs.
var leastProducts = FastProducts

type inputKey int
type gradKey int
type outputKey int
type seedKey int

// run is a case compiled for one device.
type run struct {
	dev     device.Device
	in      []device.Buffer
	grads   []device.Buffer
	outs    []device.Buffer
	seeds   []device.Buffer
	pool    *graph.Pool
	program *graph.Program
}

// Check runs the case on every device and with every variant that its kernels have.
func Check(t *testing.T, r *Rand, c Case) {
	t.Helper()
	var reference [][]float64
	for _, dev := range Devices(t) {
		variants := 1
		for v := 0; v < variants; v++ {
			rn, n, err := c.compile(dev, v)
			if err != nil {
				t.Fatalf("%s on %s, variant %d: %v", c.Name, dev.Info().Backend, v, err)
			}
			variants = n
			if reference == nil {
				for i := range rn.seeds { // the same seeds everywhere
					x := r.Floats(rn.seeds[i].Spec().Len, 1)
					if c.Ones {
						for j := range x {
							x[j] = 1
						}
					}
					c.seed(rn.seeds[i], dev, x, t)
				}
				seeds := rn.seeds
				if reference, err = rn.results(c); err != nil {
					t.Fatalf("%s: %v", c.Name, err)
				}
				if !c.NoGradient {
					c.differences(t, r, rn, reference, seeds)
				}
				refSeeds = refSeeds[:0]
				for _, s := range seeds {
					refSeeds = append(refSeeds, cpu.Floats(s))
				}
			} else {
				for i, s := range rn.seeds {
					x := make([]float32, s.Spec().Len)
					for j := range x {
						x[j] = float32(refSeeds[i][j])
					}
					c.seed(s, dev, x, t)
				}
				got, err := rn.results(c)
				if err != nil {
					t.Fatalf("%s on %s, variant %d: %v", c.Name, dev.Info().Backend, v, err)
				}
				for i := range got {
					if msg := c.Tol.Compare(got[i], reference[i]); msg != "" {
						t.Errorf("%s on %s, variant %d: %s: %s", c.Name, dev.Info().Backend, v, c.label(i, rn), msg)
					}
				}
			}
			rn.free()
		}
	}
}

// refSeeds are the seeds of the case under way, as the reference device holds them. Tests of one package run one
// after the other, as the device demands.
var refSeeds [][]float64

func (c *Case) seed(b device.Buffer, dev device.Device, x []float32, t *testing.T) {
	if err := dev.Write(b, 0, tensor.EncodeF32(nil, x, tensor.F32)); err != nil {
		t.Fatal(err)
	}
}

func (c *Case) label(i int, rn *run) string {
	if i < len(rn.outs) {
		return fmt.Sprintf("output %d", i)
	}
	return fmt.Sprintf("gradient of input %d", i-len(rn.outs))
}

// record records the case on a tape and returns the outputs of Fn.
func (c *Case) record(tape *graph.Tape) (outs []graph.Var, err error) {
	err = graph.Record(func() {
		in := make([]graph.Var, len(c.In))
		for i, x := range c.In {
			e := graph.Extern{Key: inputKey(i), Shape: x.Shape, DType: x.DType, Quant: x.Quant, Name: fmt.Sprintf("input %d", i)}
			if x.Quant != quant.Plain {
				e.DType = tensor.U32
			}
			if !x.Frozen && !c.NoGradient {
				e.GradKey = gradKey(i)
			}
			in[i] = tape.Extern(e)
		}
		outs = c.Fn(tape, in)
		for i, y := range outs {
			tape.Copy(tape.Extern(graph.Extern{Key: outputKey(i), Shape: y.Shape, Name: "output"}), y)
			if y.WantsGrad() && !c.NoGradient {
				dy := tape.New(y.Shape)
				tape.Copy(dy, tape.Extern(graph.Extern{Key: seedKey(i), Shape: y.Shape, Name: "seed"}))
				tape.Seed(y, dy)
			}
		}
		tape.Backward()
	})
	return outs, err
}

// alloc allocates the memory of the case: inputs with their values, their gradients, outputs and seeds.
func (rn *run) alloc(c *Case, outs []graph.Var) error {
	buffer := func(list *[]device.Buffer, d tensor.DType, n int, label string, i int) error {
		b, err := rn.dev.Alloc(device.Spec{DType: d, Len: n, Label: fmt.Sprintf("%s %d", label, i)})
		if err == nil {
			*list = append(*list, b)
		}
		return err
	}
	for i, x := range c.In {
		d, n := x.DType, x.Shape.Size()
		if x.Quant != quant.Plain {
			d, n = tensor.U32, x.Quant.Words(x.Shape[0], x.Shape[1])
		}
		if err := buffer(&rn.in, d, n, "input", i); err != nil {
			return err
		}
		var data []byte
		if x.Quant != quant.Plain {
			var err error
			if data, err = x.Quant.Pack(x.Floats, x.Shape[0], x.Shape[1]); err != nil {
				return err
			}
		} else if x.Ints != nil {
			data, _ = binary.Append(nil, binary.LittleEndian, x.Ints)
		} else {
			data = tensor.EncodeF32(nil, x.Floats, x.DType)
		}
		if err := rn.dev.Write(rn.in[i], 0, data); err != nil {
			return err
		}
		if err := buffer(&rn.grads, tensor.F32, x.Shape.Size(), "gradient", i); err != nil {
			return err
		}
	}
	for i, y := range outs {
		if err := buffer(&rn.outs, tensor.F32, y.Shape.Size(), "output", i); err != nil {
			return err
		}
		if err := buffer(&rn.seeds, tensor.F32, y.Shape.Size(), "seed", i); err != nil {
			return err
		}
	}
	return nil
}

// compile compiles the case for a device with the given variant of each kernel, counted modulo the variants that fit.
// variants is the largest number that a kernel of the case has.
func (c *Case) compile(dev device.Device, variant int) (rn *run, variants int, err error) {
	rn, variants = &run{dev: dev}, 1
	tape := graph.NewTape()
	outs, err := c.record(tape)
	if err != nil {
		return nil, 0, err
	}
	if err := rn.alloc(c, outs); err != nil {
		return nil, 0, err
	}
	if rn.pool, err = graph.NewPool(dev, tape.Plan()); err != nil {
		return nil, 0, err
	}
	rn.program, err = tape.Compile(dev, c.Name, rn.pool, graph.Binder{
		Extern: func(key any) (device.Slice, error) {
			switch k := key.(type) {
			case inputKey:
				return device.All(rn.in[k]), nil
			case gradKey:
				return device.All(rn.grads[k]), nil
			case outputKey:
				return device.All(rn.outs[k]), nil
			case seedKey:
				return device.All(rn.seeds[k]), nil
			}
			return device.Slice{}, fmt.Errorf("unknown key %v", key)
		},
		Prepare: func(launches []*device.Launch) error {
			if variant > 0 { // they are compiled
				return nil
			}
			return c.prepare(dev, launches)
		},
		Choose: func(l *device.Launch) (device.Variant, error) {
			fits := c.variants(dev, l)
			variants = max(variants, len(fits))
			return fits[variant%len(fits)], nil
		},
	})
	return rn, variants, err
}

// prepare lets a device that can compile several pipelines at a time do that with every variant of the launches. One after
// the other, their compilation would take most of the time of the tests.
func (c *Case) prepare(dev device.Device, launches []*device.Launch) error {
	compiler, ok := dev.(interface {
		Prepare([]*device.Launch) error
	})
	if !ok {
		return nil
	}
	var all []*device.Launch
	for _, l := range launches {
		fits := c.variants(dev, l)
		if len(fits) == 0 {
			all = append(all, l)
		}
		for _, v := range fits {
			used := *l
			used.Use(v)
			all = append(all, &used)
		}
	}
	return compiler.Prepare(all)
}

// variants lists the variants of a launch's kernel that the case runs.
func (c *Case) variants(dev device.Device, l *device.Launch) []device.Variant {
	fits := Fitting(dev, l)
	products := max(c.Products, leastProducts)
	if products == AllProducts || !strings.HasPrefix(l.Kernel.Name, "matmul_") {
		return fits
	}
	if products == ProductsOfEachShader {
		seen := map[string]bool{}
		return slices.DeleteFunc(fits, func(v device.Variant) bool {
			earlier := seen[v.Shader]
			seen[v.Shader] = true
			return earlier
		})
	}
	for i, v := range fits {
		if v.Pays == 0 && (v.Fits == nil || v.Fits(dev.Info(), dev.Limits(), l.Dims)) {
			return fits[i : i+1]
		}
	}
	return fits
}

// Fitting lists the variants of a launch's kernel that the device can run, those for hardware adapters included. At least
// one fits on every device.
func Fitting(dev device.Device, l *device.Launch) []device.Variant {
	if dev.Info().Backend == "cpu" { // every variant has the same reference
		return l.Kernel.Variants[:1]
	}
	var fits []device.Variant
	hardware := dev.Info()
	hardware.Software = false
	for _, v := range l.Kernel.Variants {
		if v.Fits == nil || v.Fits(dev.Info(), dev.Limits(), l.Dims) || v.Fits(hardware, dev.Limits(), l.Dims) {
			fits = append(fits, v)
		}
	}
	return fits
}

func (rn *run) free() {
	rn.program.Release()
	rn.pool.Free()
	for _, list := range [][]device.Buffer{rn.in, rn.grads, rn.outs, rn.seeds} {
		for _, b := range list {
			rn.dev.Free(b)
		}
	}
}

// results runs the program from cleared gradients and returns all outputs, then all gradients (nil for frozen inputs).
func (rn *run) results(c Case) ([][]float64, error) {
	for _, g := range rn.grads {
		if err := rn.dev.Write(g, 0, make([]byte, 4*g.Spec().Len)); err != nil {
			return nil, err
		}
	}
	if err := rn.dev.Submit(device.Work{Run: rn.program.Executable}); err != nil {
		return nil, err
	}
	if err := rn.dev.Sync(); err != nil {
		return nil, err
	}
	var all [][]float64
	for _, b := range rn.outs {
		x, err := ReadFloats(rn.dev, b)
		if err != nil {
			return nil, err
		}
		all = append(all, x)
	}
	for i, b := range rn.grads {
		var x []float64
		if !c.In[i].Frozen && !c.NoGradient {
			var err error
			if x, err = ReadFloats(rn.dev, b); err != nil {
				return nil, err
			}
		}
		all = append(all, x)
	}
	return all, nil
}

// ReadFloats reads a whole floating buffer, in full precision from the reference device.
func ReadFloats(dev device.Device, b device.Buffer) ([]float64, error) {
	if dev.Info().Backend == "cpu" {
		return append([]float64(nil), cpu.Floats(b)...), nil
	}
	data, err := dev.Read(b, 0, b.Spec().Len)
	if err != nil {
		return nil, err
	}
	f := make([]float32, b.Spec().Len)
	if err := tensor.DecodeF32(f, data, b.Spec().DType); err != nil {
		return nil, err
	}
	x := make([]float64, len(f))
	for i := range f {
		x[i] = float64(f[i])
	}
	return x, nil
}

// differences compares the reference gradients with central differences of the seeded sum of the outputs, along a
// random direction through each input and at a few single elements.
func (c *Case) differences(t *testing.T, r *Rand, rn *run, reference [][]float64, seeds []device.Buffer) {
	t.Helper()
	objective := func() float64 {
		res, err := rn.results(*c)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		sum := 0.0
		for i := range rn.outs {
			for j, y := range res[i] {
				sum += y * cpu.Floats(seeds[i])[j]
			}
		}
		return sum
	}
	for i, in := range c.In {
		if in.Frozen {
			continue
		}
		x, g := cpu.Floats(rn.in[i]), reference[len(rn.outs)+i]
		keep := append([]float64(nil), x...)
		try := func(direction []float64, what string) {
			const eps = 1e-5
			want, scale := 0.0, 0.0
			for j, d := range direction {
				want += d * g[j]
				scale += math.Abs(d * g[j])
			}
			move := func(by float64) float64 {
				for j, d := range direction {
					x[j] = keep[j] + by*d
				}
				return objective()
			}
			up, down := move(eps), move(-eps)
			copy(x, keep)
			got := (up - down) / (2 * eps)
			// Rounding of the objective over the step, and the third-order term of the difference.
			if tol := 1e-6*(1+scale) + 1e-15*math.Abs(up)/eps; math.Abs(got-want) > tol {
				t.Errorf("%s: gradient of input %d %s: central difference %.9g, backward pass %.9g", c.Name, i, what, got, want)
			}
		}
		direction := make([]float64, len(x))
		for j := range direction {
			direction[j] = r.NormFloat64()
		}
		try(direction, "along a random direction")
		for range 4 {
			clear(direction)
			j := r.IntN(len(x))
			direction[j] = 1
			try(direction, fmt.Sprintf("at %d", j))
		}
	}
}
