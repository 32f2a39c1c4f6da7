// AdamW.   p, g, m, v (N)  scalars, state (8), all in one pass:
//   g ← g · factor,   m ← β1·m + (1−β1)·g,   v ← β2·v + (1−β2)·g²
//   p ← p − lr·decay·p − lr·c1·m / (√v·c2 + eps),   g ← what was added to p
//@import grid
//@import update
const WG: u32 = 64u; //@param  threads a workgroup

// rest1 and rest2 are 1−β1 and 1−β2, which f32 could not make from β.
struct Dims { N: u32, beta1: f32, rest1: f32, beta2: f32, rest2: f32, eps: f32, decay: f32, lr_scale: f32 }

@group(0) @binding(0) var<storage, read> scalars: array<f32>;
@group(0) @binding(1) var<storage, read> state: array<f32>;
@group(0) @binding(2) var<storage, read_write> g: array<f32>;
@group(0) @binding(3) var<storage, read_write> p: array<f32>;
@group(0) @binding(4) var<storage, read_write> m: array<f32>;
@group(0) @binding(5) var<storage, read_write> v: array<f32>;
@group(0) @binding(6) var<uniform> d: Dims;

// One thread an element.
@compute @workgroup_size(WG)
fn adamw(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.N || state[APPLIED] == 0.0) { return; }
    let pair = CORRECTIONS + 2u * u32(state[PAIR]);
    let lr = scalars[LR] * d.lr_scale;
    let dp = g[i] * state[FACTOR];
    let m1 = d.beta1 * m[i] + d.rest1 * dp;
    let v1 = d.beta2 * v[i] + d.rest2 * dp * dp;
    m[i] = m1;
    v[i] = v1;
    let change = lr * (d.decay * p[i] + scalars[pair] * m1 / (sqrt(v1) * scalars[pair + 1u] + d.eps));
    p[i] -= change;
    g[i] = -change;
}
