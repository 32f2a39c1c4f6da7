//go:build js

package webgpu

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/cogentcore/webgpu/wgpu"

	"llamatab/engine/device"
	"llamatab/shaders"
)

const (
	uniformAlign = device.DimsAlign

	// A desktop stalls, and may take the device away, when one command buffer keeps the GPU for long; 16 ms is a
	// frame. 8 GFLOP take 8 ms at the 1 TFLOP/s of an integrated GPU, and 64 of the engine's small launches, which
	// wait for memory and count few operations, take less on any.
	splitFlops      = 8e9
	splitDispatches = 64
)

// layout is what kernels with the same accesses share.
type layout struct {
	group    *wgpu.BindGroupLayout
	pipeline *wgpu.PipelineLayout
}

// executable implements device.Executable.
type executable struct {
	dev        *Device
	label      string
	program    int // its id, -1 when released
	uniforms   *wgpu.Buffer
	bytes      int64 // of uniforms
	dispatches int
}

// Dispatches implements device.Executable.
func (e *executable) Dispatches() int { return e.dispatches }

// Release implements device.Executable.
func (e *executable) Release() {
	if e.program < 0 {
		return
	}
	e.dev.replay.drop(e.program)
	e.program = -1
	e.dev.freeUniforms(e)
}

func (d *Device) freeUniforms(e *executable) {
	if e.uniforms != nil {
		e.uniforms.Destroy()
		d.usage[device.Staging] -= e.bytes
		e.uniforms = nil
	}
}

// Compile implements device.Device. Shaders that do not compile and commands that WebGPU would refuse are found here.
func (d *Device) Compile(label string, cmds []device.Command) (device.Executable, error) {
	if d.err != nil {
		return nil, d.err
	}
	e, err := d.compile(label, cmds)
	if err != nil {
		return nil, fmt.Errorf("webgpu: compile %s: %w", label, err)
	}
	return e, nil
}

func (d *Device) compile(label string, cmds []device.Command) (*executable, error) {
	for i, c := range cmds {
		if err := d.check(c); err != nil {
			return nil, fmt.Errorf("command %d: %w", i, err)
		}
	}
	if err := d.makePipelines(cmds); err != nil {
		return nil, err
	}
	e := &executable{dev: d, label: label, program: -1}
	offsets, err := d.makeUniforms(e, cmds)
	if err != nil {
		return nil, err
	}
	var failure error
	err = d.guard(func() {
		r := recorder{dev: d, uniforms: e.uniforms, offsets: offsets, ids: map[string]int32{}}
		for _, c := range cmds {
			r.record(c)
		}
		r.end()
		e.dispatches = r.dispatches
		e.program, failure = d.replay.program(r.words, r.groups)
	})
	if err = errors.Join(failure, err); err != nil {
		e.Release()
		d.freeUniforms(e)
		return nil, err
	}
	return e, nil
}

// check finds what is wrong with a command before WebGPU is asked.
func (d *Device) check(c device.Command) error {
	switch {
	case c.Launch != nil:
		if err := d.checkLaunch(c.Launch); err != nil {
			return fmt.Errorf("%s: %w", c.Launch.Kernel.Name, err)
		}
	case c.Copy != nil:
		dst, _, size, err := d.target(c.Copy.Dst)
		if err != nil {
			return fmt.Errorf("copy to %w", err)
		}
		src, _, n, err := d.window(c.Copy.Src)
		switch {
		case err != nil:
			return fmt.Errorf("copy from %w", err)
		case src == dst:
			return fmt.Errorf("copy within %q", src.spec.Label)
		case src.spec.DType != dst.spec.DType || n != size:
			return fmt.Errorf("copy of %d %v of %q over %d %v of %q", c.Copy.Src.Len, src.spec.DType, src.spec.Label, c.Copy.Dst.Len, dst.spec.DType, dst.spec.Label)
		}
	case c.Clear != nil:
		if _, _, _, err := d.target(*c.Clear); err != nil {
			return fmt.Errorf("clear %w", err)
		}
	default:
		return errors.New("neither launch nor copy nor clear")
	}
	return nil
}

func (d *Device) checkLaunch(l *device.Launch) error {
	if len(l.Args) != len(l.Kernel.Bindings) {
		return fmt.Errorf("%d arguments for %d bindings", len(l.Args), len(l.Kernel.Bindings))
	}
	if len(l.Args) > d.limits.MaxStorageBuffers {
		return fmt.Errorf("%d storage buffers, limit %d", len(l.Args), d.limits.MaxStorageBuffers)
	}
	if binary.Size(l.Dims) <= 0 {
		return fmt.Errorf("dimensions %T are no struct of 4-byte numbers", l.Dims)
	}
	if l.Kernel.Grid == nil {
		return errors.New("the kernel has no grid")
	}
	grid := l.Kernel.Grid(l.Dims, l.Params)
	for _, n := range grid {
		if n < 1 || n > d.limits.MaxWorkgroups {
			return fmt.Errorf("grid %v, limit %d", grid, d.limits.MaxWorkgroups)
		}
	}
	written := map[*buffer]bool{}
	for i, s := range l.Args {
		name := l.Kernel.Bindings[i].Name
		b, from, size, err := d.window(s)
		if err != nil {
			return fmt.Errorf("argument %s: %w", name, err)
		}
		if from%int64(d.limits.OffsetAlignment) != 0 {
			return fmt.Errorf("argument %s starts at byte %d, not a multiple of %d", name, from, d.limits.OffsetAlignment)
		}
		if size > d.limits.MaxBinding {
			return fmt.Errorf("argument %s has %d bytes, the binding limit is %d", name, size, d.limits.MaxBinding)
		}
		w := l.Kernel.Bindings[i].Access != device.Read
		if was, seen := written[b]; seen && was != w {
			return fmt.Errorf("argument %s: buffer %q is read and written by the same launch", name, b.spec.Label)
		}
		written[b] = w
	}
	return nil
}

// accesses spells what a kernel does with its bindings, "r" or "w" for each.
func accesses(k *device.Kernel) string {
	var s strings.Builder
	for _, b := range k.Bindings {
		if b.Access == device.Read {
			s.WriteByte('r')
		} else {
			s.WriteByte('w')
		}
	}
	return s.String()
}

func pipelineKey(l *device.Launch) string {
	return l.Kernel.Shader + "/" + l.Kernel.Entry + "/" + accesses(l.Kernel) + "/" + l.Params.Key()
}

// layout makes the layouts of a kernel, or finds those of one alike.
func (d *Device) layout(k *device.Kernel) layout {
	key := accesses(k)
	l, ok := d.layouts[key]
	if ok {
		return l
	}
	entries := make([]wgpu.BindGroupLayoutEntry, len(key)+1)
	for i := range entries {
		t := wgpu.BufferBindingTypeUniform
		if i < len(key) {
			t = wgpu.BufferBindingTypeStorage
			if key[i] == 'r' {
				t = wgpu.BufferBindingTypeReadOnlyStorage
			}
		}
		entries[i] = wgpu.BindGroupLayoutEntry{Binding: uint32(i), Visibility: wgpu.ShaderStageCompute, Buffer: wgpu.BufferBindingLayout{Type: t}}
	}
	l.group, _ = d.gpu.CreateBindGroupLayout(&wgpu.BindGroupLayoutDescriptor{Entries: entries})
	l.pipeline, _ = d.gpu.CreatePipelineLayout(&wgpu.PipelineLayoutDescriptor{BindGroupLayouts: []*wgpu.BindGroupLayout{l.group}})
	d.layouts[key] = l
	return l
}

// Prepare compiles the pipelines of launches at the same time, on as many threads as the browser gives to that. What is
// wrong with one is said where it is compiled for use.
func (d *Device) Prepare(launches []*device.Launch) error {
	cmds := make([]device.Command, len(launches))
	for i, l := range launches {
		cmds[i].Launch = l
	}
	d.makePipelines(cmds)
	return d.err
}

// build is a pipeline on its way.
type build struct {
	key    string
	launch *device.Launch
	source string
	module *wgpu.ShaderModule
	done   promise
}

// makePipelines compiles what is not in the cache yet, all at once.
func (d *Device) makePipelines(cmds []device.Command) error {
	var builds []*build
	modules := map[string]*build{} // the first build by shader and parameters; other entry points share its module
	asked := map[string]bool{}
	for _, c := range cmds {
		l := c.Launch
		if l == nil {
			continue
		}
		b := &build{key: pipelineKey(l), launch: l}
		if _, ok := d.pipelines[b.key]; ok || asked[b.key] {
			continue
		}
		var err error
		if b.source, err = shaders.Source(l.Kernel.Shader, l.Params); err != nil {
			return fmt.Errorf("%s: %w", l.Kernel.Name, err)
		}
		asked[b.key] = true
		builds = append(builds, b)
	}
	if len(builds) == 0 {
		return nil
	}
	failure := d.guard(func() {
		for _, b := range builds {
			first, ok := modules[b.source]
			if !ok {
				b.module, _ = d.gpu.CreateShaderModule(&wgpu.ShaderModuleDescriptor{WGSLDescriptor: &wgpu.ShaderModuleWGSLDescriptor{Code: b.source}})
				first, modules[b.source] = b, b
			}
			b.module = first.module
			b.done = watch(d.value.Call("createComputePipelineAsync", map[string]any{
				"label":   b.launch.Kernel.Name,
				"layout":  raw(d.layout(b.launch.Kernel).pipeline),
				"compute": map[string]any{"module": raw(b.module), "entryPoint": b.launch.Kernel.Entry},
			}))
		}
	})
	var told error
	for _, b := range builds {
		if b.done == nil { // guard's function did not get to it
			continue
		}
		pipeline, err := d.await(b.done)
		if err == nil {
			d.pipelines[b.key], err = d.replay.add(pipeline)
		}
		if err != nil && d.err == nil {
			// What is wrong with the shader tells more than that its module is invalid.
			told = cmp.Or(told, fmt.Errorf("%s: %w", b.launch.Kernel.Name, d.explain(b, err)))
		}
	}
	if d.err != nil {
		return d.err
	}
	return cmp.Or(told, failure)
}

// explain adds to a pipeline's error the compiler's messages, with the lines they are about.
func (d *Device) explain(b *build, err error) error {
	where := fmt.Sprintf("shaders/%s.wgsl, entry %s, with %s", b.launch.Kernel.Shader, b.launch.Kernel.Entry, b.launch.Params.Key())
	info, e := d.await(watch(wrapped(b.module).Call("getCompilationInfo")))
	if e != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	messages, e := info.Get("messages")
	if e != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	lines := strings.Split(b.source, "\n")
	var report strings.Builder
	n, _ := messages.Length()
	for i := range n {
		m, e := messages.Index(i)
		if e != nil || text(m, "type") != "error" {
			continue
		}
		line := int(number(m, "lineNum"))
		fmt.Fprintf(&report, "\nline %d:%d: %s", line, int(number(m, "linePos")), text(m, "message"))
		if line >= 1 && line <= len(lines) {
			fmt.Fprintf(&report, "\n\t%s", strings.TrimSpace(lines[line-1]))
		}
	}
	if report.Len() == 0 {
		return fmt.Errorf("%s: %w", where, err)
	}
	return fmt.Errorf("%s, imports pasted:%s", where, report.String())
}

// makeUniforms puts the distinct dimensions of all launches into one buffer and returns where each lies.
func (d *Device) makeUniforms(e *executable, cmds []device.Command) (map[string]uint64, error) {
	offsets := map[string]uint64{}
	var content []byte
	for _, c := range cmds {
		if c.Launch == nil {
			continue
		}
		words := string(c.Launch.Words())
		if _, ok := offsets[words]; !ok {
			offsets[words] = uint64(len(content))
			content = append(content, words...)
			for len(content)%uniformAlign != 0 {
				content = append(content, 0)
			}
		}
	}
	if len(content) == 0 {
		return offsets, nil
	}
	err := d.guard(func() {
		e.uniforms, _ = d.gpu.CreateBufferInit(&wgpu.BufferInitDescriptor{Label: e.label, Contents: content, Usage: wgpu.BufferUsageUniform})
	})
	if err != nil {
		return nil, fmt.Errorf("buffer of %d bytes for dimensions: %w", len(content), err)
	}
	e.bytes = int64(len(content))
	d.usage[device.Staging] += e.bytes
	return offsets, nil
}

// recorder turns checked commands into the words of a program.
type recorder struct {
	dev      *Device
	uniforms *wgpu.Buffer
	offsets  map[string]uint64

	words      []int32
	groups     []any            // the JavaScript bind groups
	ids        map[string]int32 // their indices, by what they bind
	dispatches int

	flops float64 // since the last split
	since int     // dispatches
}

func (r *recorder) record(c device.Command) {
	d := r.dev
	switch {
	case c.Launch != nil:
		l := c.Launch
		r.split(l)
		grid := l.Kernel.Grid(l.Dims, l.Params)
		r.words = append(r.words, programDispatch, int32(d.pipelines[pipelineKey(l)]), r.group(l), int32(grid[0]), int32(grid[1]), int32(grid[2]))
		r.dispatches++
	case c.Copy != nil:
		src, from, size, _ := d.window(c.Copy.Src)
		dst, to, _, _ := d.window(c.Copy.Dst)
		r.words = append(r.words, programCopy, int32(src.id), int32(from/4), int32(dst.id), int32(to/4), int32(size/4))
	case c.Clear != nil:
		b, from, size, _ := d.window(*c.Clear)
		r.words = append(r.words, programClear, int32(b.id), int32(from/4), int32(size/4))
	}
}

// split ends the command buffer where a launch would make it too long. A software adapter has nothing to stall.
func (r *recorder) split(l *device.Launch) {
	if r.dev.info.Software {
		return
	}
	flops := 0.0
	if l.Kernel.Flops != nil {
		flops = l.Kernel.Flops(l.Dims)
	}
	if r.since >= splitDispatches || r.since > 0 && r.flops+flops > splitFlops {
		r.end()
	}
	r.since++
	r.flops += flops
}

// end keeps what was recorded so far apart from what follows, be it of the next executable.
func (r *recorder) end() {
	if r.since > 0 {
		r.words = append(r.words, programSplit)
	}
	r.since, r.flops = 0, 0
}

// group finds or makes the bind group of a launch.
func (r *recorder) group(l *device.Launch) int32 {
	words := l.Words()
	offset := r.offsets[string(words)]
	var key strings.Builder
	key.WriteString(accesses(l.Kernel))
	entries := make([]wgpu.BindGroupEntry, 0, len(l.Args)+1)
	for i, s := range l.Args {
		b, from, size, _ := r.dev.window(s)
		fmt.Fprintf(&key, " %d+%d:%d", b.id, from, size)
		entries = append(entries, wgpu.BindGroupEntry{Binding: uint32(i), Buffer: b.gpu, Offset: uint64(from), Size: uint64(size)})
	}
	fmt.Fprintf(&key, " %d:%d", offset, len(words))
	if id, ok := r.ids[key.String()]; ok {
		return id
	}
	entries = append(entries, wgpu.BindGroupEntry{Binding: uint32(len(entries)), Buffer: r.uniforms, Offset: offset, Size: uint64(len(words))})
	g, _ := r.dev.gpu.CreateBindGroup(&wgpu.BindGroupDescriptor{Layout: r.dev.layout(l.Kernel).group, Entries: entries})
	id := int32(len(r.groups))
	r.ids[key.String()] = id
	r.groups = append(r.groups, raw(g))
	return id
}

var _ device.Device = (*Device)(nil)
