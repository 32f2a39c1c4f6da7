// AdamW on bfloat16 weights that have no float32 master.   p (N), two in a word;  g, m, v (N)  scalars, state (8)
// A weight is rounded up with the probability that the distance below it is of the whole, so that updates smaller than
// its last digit count on average.
//@import adamw
//@import random
//@import narrow
const WG: u32 = 64u; //@param  threads per workgroup

@group(0) @binding(3) var<storage, read_write> p: array<u32>;

// The bfloat16 that a weight p becomes: the upper half of the sum plus a random number of the lower half's size.
fn next(i: u32, p: f32) -> u32 {
    let chance = random(vec4<u32>(bitcast<u32>(scalars[NUMBER]), d.site, d.first + i, 0u)) & 0xffffu;
    let half = (bitcast<u32>(p - change(i, p)) + chance) >> 16u;
    g[i] = bf16_low(half) - p;
    return half;
}

// One thread per word of p.
@compute @workgroup_size(WG)
fn adamw(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
    let i = 2u * (flat_group(wid, groups) * WG + lane);
    if (i >= d.N || state[APPLIED] == 0.0) { return; }
    let word = p[i / 2u];
    var pair = next(i, bf16_low(word));
    if (i + 1u < d.N) { pair |= next(i + 1u, bf16_high(word)) << 16u; }
    p[i / 2u] = pair;
}
