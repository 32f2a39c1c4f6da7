// Gradient of an activation.   dy, x, dx (N):   dx = dy · f′(x)
//@import grid
//@import activation
const WG: u32 = 64u;            //@param  threads per workgroup
const KIND: u32 = 0u;           //@param  which, see lib/activation.wgsl
const ACCUMULATE: bool = false; //@param  add to the output instead of replacing it

struct Dims { N: u32 }

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<uniform> d: Dims;

// One thread per element.
@compute @workgroup_size(WG)
fn backward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.N) { return; }
    let g = dy[i] * slope(x[i]);
    if (ACCUMULATE) { dx[i] += g; } else { dx[i] = g; }
}
