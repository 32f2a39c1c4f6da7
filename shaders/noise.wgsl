// Uniform noise.   x, y (N)  seed (2)  magnitude (1), the bits of an f32:
//   y[i] = x[i] + magnitude · u[i],   u[i] = (random(seed, site, i) >> 8) · 2⁻²³ − 1, in [−1, 1)
//@import grid
//@import random
const WG: u32 = 64u;            //@param  threads per workgroup

struct Dims { N: u32, site: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> seed: array<u32>;
@group(0) @binding(2) var<storage, read> magnitude: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> d: Dims;

// One thread per element.
@compute @workgroup_size(WG)
fn noise(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.N) { return; }
    let u = f32(random(vec4<u32>(seed[0], seed[1], d.site, i)) >> 8u) * 0x1p-23 - 1.0; // 24 bits, so every step is exact
    y[i] = x[i] + bitcast<f32>(magnitude[0]) * u;
}
