// Rounds f32 in place to what two bytes hold.   x (N);   with KEEP also y (N), the same packed two in a word
//@import grid
//@import narrow
const WG: u32 = 64u;      //@param  threads per workgroup
const F16: bool = false;  //@param  binary16 instead of bfloat16
const KEEP: bool = false; //@param

struct Dims { N: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>; //@if KEEP
@group(0) @binding(2) var<uniform> d: Dims; //@if KEEP
@group(0) @binding(1) var<uniform> d: Dims; //@if !KEEP

fn rounded(i: u32) -> u32 {
    if (F16) {
        let half = to_f16(x[i]);
        x[i] = bitcast<u32>(f16_low(half));
        return half;
    }
    let half = to_bf16(x[i]);
    x[i] = half << 16u;
    return half;
}

// One thread per two elements.
@compute @workgroup_size(WG)
fn round_all(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
    let i = 2u * (flat_group(wid, groups) * WG + lane);
    if (i >= d.N) { return; }
    var word = rounded(i);
    if (i + 1u < d.N) { word |= rounded(i + 1u) << 16u; }
    y[i / 2u] = word; //@if KEEP
}
