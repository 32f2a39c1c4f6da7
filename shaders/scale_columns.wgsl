// Each column by a factor of its own.   x, y (N,C)  w (C):   y[n,c] = x[n,c] · w[c]
//@import grid
const WG: u32 = 64u;            //@param  threads per workgroup
const ACCUMULATE: bool = false; //@param  add to the output instead of replacing it

struct Dims { N: u32, C: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> d: Dims;

// One thread per element.
@compute @workgroup_size(WG)
fn scale(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.N * d.C) { return; }
    let v = x[i] * w[i % d.C];
    if (ACCUMULATE) { y[i] += v; } else { y[i] = v; }
}
