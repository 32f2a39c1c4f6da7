// Dropout.   x, y (N)  seed (2):   y[i] = x[i] · scale where random(seed, site, i) ≥ threshold, else 0
//@import grid
//@import random
const WG: u32 = 64u;            //@param  threads per workgroup
const ACCUMULATE: bool = false; //@param  add to the output instead of replacing it

struct Dims { N: u32, site: u32, threshold: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> seed: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> d: Dims;

// One thread per element.
@compute @workgroup_size(WG)
fn dropout(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.N) { return; }
    let keep = random(vec4<u32>(seed[0], seed[1], d.site, i)) >= d.threshold;
    let value = select(0.0, d.scale * x[i], keep);
    if (ACCUMULATE) { y[i] += value; } else { y[i] = value; }
}
