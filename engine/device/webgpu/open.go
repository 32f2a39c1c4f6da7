//go:build js

package webgpu

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cogentcore/webgpu/wgpu"
	"github.com/hack-pad/safejs"

	"llamatab/engine/device"
)

// The three ways in which there can be no device. Each error that wraps one says what to do about it.
var (
	ErrUnsupported = errors.New("this page has no WebGPU")
	ErrNoAdapter   = errors.New("the browser offers no WebGPU adapter")
	ErrRefused     = errors.New("the adapter gave no device")
)

const (
	attempts       = 5                      // a browser that is starting may have no adapter yet
	firstPause     = 100 * time.Millisecond // doubled after each attempt
	answerTime     = 30 * time.Second       // some drivers never answer a request for an adapter
	storageBuffers = 10                     // as many as the engine's kernels bind at most
)

// Options say what kind of device is wanted.
type Options struct {
	// Want are the limits to ask for. A limit of 0 is the adapter's best; one above that is lowered to it.
	Want device.Limits
	// PowerPreference is "high-performance" (also when empty) or "low-power".
	PowerPreference string
}

// Open opens a device on the browser's preferred adapter.
func Open(ctx context.Context, opt Options) (*Device, error) {
	ctx, cancel := answerWithin(ctx)
	defer cancel()
	maker, err := safejs.Global().Get("llamatabReplay")
	if err == nil && maker.Type() != safejs.TypeFunction {
		err = errors.New("replay.js is not loaded: call importScripts(\"/replay.js\") before the program is started")
	}
	if err != nil {
		return nil, fmt.Errorf("webgpu: %w", err)
	}
	var d *Device
	err = persist(ctx, func() error {
		adapter, err := requestAdapter(ctx, opt.PowerPreference)
		if err == nil {
			d, err = requestDevice(ctx, adapter, opt.Want, maker)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("webgpu: %w", err)
	}
	return d, nil
}

// Adapter describes the browser's preferred adapter and its best limits, without opening it.
func Adapter(ctx context.Context) (device.Info, device.Limits, error) {
	ctx, cancel := answerWithin(ctx)
	defer cancel()
	var info device.Info
	var limits device.Limits
	err := persist(ctx, func() error {
		adapter, err := requestAdapter(ctx, "")
		if err == nil {
			info, limits = infoOf(adapter), limitsOf(adapter)
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("webgpu: %w", err)
	}
	return info, limits, err
}

func answerWithin(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, answerTime, fmt.Errorf("%w: no answer within %v; restart the browser, and see chrome://gpu", ErrNoAdapter, answerTime))
}

// persist tries again after a pause what may come right while the browser starts.
func persist(ctx context.Context, f func() error) error {
	pause := firstPause
	for i := 1; ; i++ {
		err := f()
		if err == nil || i == attempts || errors.Is(err, ErrUnsupported) || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(pause):
			pause *= 2
		case <-ctx.Done():
			return err
		}
	}
}

// within waits for a promise as long as ctx lasts.
func within(ctx context.Context, p promise) (safejs.Value, error) {
	v, err := p.wait(ctx.Done())
	if err == errStopped {
		err = context.Cause(ctx)
	}
	return v, err
}

func requestAdapter(ctx context.Context, preference string) (safejs.Value, error) {
	none := safejs.Undefined()
	navigator, err := safejs.Global().Get("navigator")
	if err != nil {
		return none, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if !truth(navigator, "gpu") {
		if !truth(safejs.Global(), "isSecureContext") {
			return none, fmt.Errorf("%w: browsers offer it only to https pages and to localhost; open the page by https or as http://127.0.0.1:PORT", ErrUnsupported)
		}
		return none, fmt.Errorf("%w: use Chrome or Edge 113 or later, Safari 26 or Firefox 141; Chrome on Linux may need chrome://flags/#enable-unsafe-webgpu", ErrUnsupported)
	}
	gpu, err := navigator.Get("gpu")
	if err != nil {
		return none, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if preference == "" {
		preference = "high-performance"
	}
	adapter, err := within(ctx, watch(gpu.Call("requestAdapter", map[string]any{"powerPreference": preference})))
	if errors.Is(err, ErrNoAdapter) {
		return none, err
	}
	if err != nil {
		return none, fmt.Errorf("%w: %w", ErrNoAdapter, err)
	}
	if adapter.IsNull() {
		return none, fmt.Errorf("%w: switch on hardware acceleration in the browser's settings and update the graphics driver; chrome://gpu shows why", ErrNoAdapter)
	}
	return adapter, nil
}

// requestDevice opens an adapter with limits up to want. WebGPU refuses limits above the adapter's, and gives the
// defaults for those that are not asked for.
func requestDevice(ctx context.Context, adapter safejs.Value, want device.Limits, maker safejs.Value) (*Device, error) {
	info, best := infoOf(adapter), limitsOf(adapter)
	if want.MaxStorageBuffers == 0 {
		want.MaxStorageBuffers = storageBuffers
	}
	ask := lower(best, want)
	var features []any
	for _, name := range []string{"subgroups", "shader-f16", "timestamp-query"} {
		if has(adapter, name) {
			features = append(features, name)
		}
	}
	limits := map[string]any{
		"maxBufferSize":                     ask.MaxBuffer,
		"maxStorageBufferBindingSize":       ask.MaxBinding,
		"maxStorageBuffersPerShaderStage":   ask.MaxStorageBuffers,
		"maxComputeWorkgroupStorageSize":    ask.MaxWorkgroupMemory,
		"maxComputeInvocationsPerWorkgroup": ask.MaxInvocations,
		"maxComputeWorkgroupsPerDimension":  ask.MaxWorkgroups,
	}
	if adapterLimits, err := adapter.Get("limits"); err == nil {
		for _, name := range []string{"maxComputeWorkgroupSizeX", "maxComputeWorkgroupSizeY"} {
			limits[name] = min(number(adapterLimits, name), float64(ask.MaxInvocations))
		}
	}
	refused := func(err error) error {
		return fmt.Errorf("%w (%s %s): %w; close other pages that use the GPU and reload", ErrRefused, info.Vendor, info.Architecture, err)
	}
	value, err := within(ctx, watch(adapter.Call("requestDevice", map[string]any{
		"label": "llamatab", "requiredFeatures": features, "requiredLimits": limits,
	})))
	if err != nil {
		return nil, refused(err)
	}
	d, err := newDevice(value, maker)
	if err != nil {
		value.Call("destroy")
		return nil, refused(err)
	}
	d.info, d.limits = info, lower(limitsOf(value), want)
	// A device may be lost from its birth on.
	if err := d.Sync(); err != nil {
		d.Close()
		return nil, refused(err)
	}
	return d, nil
}

// newDevice takes over an open WebGPU device.
func newDevice(value, maker safejs.Value) (*Device, error) {
	d := &Device{
		gpu: wgpu.NewDevice(safejs.Unsafe(value)), value: value, gone: make(chan struct{}),
		layouts: map[string]layout{}, pipelines: map[string]int{}, slots: map[int][]*slot{},
	}
	if !raw(&d.gpu).Equal(safejs.Unsafe(value)) {
		return nil, errors.New("the WebGPU binding does not hold its JavaScript value as expected: build with the version in go.mod")
	}
	if err := d.listen(); err != nil {
		return nil, err
	}
	var err error
	if d.queue, err = value.Get("queue"); err != nil {
		return nil, err
	}
	d.replay.object, err = maker.Invoke(value)
	return d, err
}

// has tells whether an adapter or device has an optional feature.
func has(v safejs.Value, feature string) bool {
	set, err := v.Get("features")
	if err != nil {
		return false
	}
	found, err := set.Call("has", feature)
	if err != nil {
		return false
	}
	yes, _ := found.Bool()
	return yes
}

func infoOf(adapter safejs.Value) device.Info {
	i := device.Info{Backend: "webgpu", Subgroups: has(adapter, "subgroups"), F16: has(adapter, "shader-f16")}
	v, err := adapter.Get("info")
	if err != nil {
		return i
	}
	i.Vendor, i.Architecture, i.Description = text(v, "vendor"), text(v, "architecture"), text(v, "description")
	if i.Description == "" {
		i.Description = text(v, "device")
	}
	i.SubgroupMin, i.SubgroupMax = int(number(v, "subgroupMinSize")), int(number(v, "subgroupMaxSize"))
	names := strings.ToLower(i.Architecture + " " + i.Description)
	i.Software = truth(v, "isFallbackAdapter") || strings.Contains(names, "swiftshader") || strings.Contains(names, "llvmpipe")
	return i
}

// limitsOf reads the limits of an adapter or device.
func limitsOf(v safejs.Value) device.Limits {
	limits, err := v.Get("limits")
	if err != nil {
		return device.DefaultLimits
	}
	return device.Limits{
		MaxBuffer:          int64(number(limits, "maxBufferSize")),
		MaxBinding:         int64(number(limits, "maxStorageBufferBindingSize")),
		MaxStorageBuffers:  int(number(limits, "maxStorageBuffersPerShaderStage")),
		MaxWorkgroupMemory: int(number(limits, "maxComputeWorkgroupStorageSize")),
		MaxInvocations:     int(number(limits, "maxComputeInvocationsPerWorkgroup")),
		MaxWorkgroups:      int(number(limits, "maxComputeWorkgroupsPerDimension")),
		OffsetAlignment:    int(number(limits, "minStorageBufferOffsetAlignment")),
	}
}

// lower is have, each limit lowered to want's where that is given.
func lower(have, want device.Limits) device.Limits {
	return device.Limits{
		MaxBuffer:          atMost(have.MaxBuffer, want.MaxBuffer),
		MaxBinding:         atMost(have.MaxBinding, want.MaxBinding),
		MaxStorageBuffers:  atMost(have.MaxStorageBuffers, want.MaxStorageBuffers),
		MaxWorkgroupMemory: atMost(have.MaxWorkgroupMemory, want.MaxWorkgroupMemory),
		MaxInvocations:     atMost(have.MaxInvocations, want.MaxInvocations),
		MaxWorkgroups:      atMost(have.MaxWorkgroups, want.MaxWorkgroups),
		OffsetAlignment:    have.OffsetAlignment,
	}
}

func atMost[N int | int64](have, want N) N {
	if want == 0 {
		return have
	}
	return min(have, want)
}
