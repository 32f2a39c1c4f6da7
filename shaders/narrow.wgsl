// f32 to two bytes and back.   N elements; a word of y or x holds two of the narrow ones
//@import grid
//@import narrow
const WG: u32 = 64u;      //@param  threads per workgroup
const F16: bool = false;  //@param  binary16 instead of bfloat16

struct Dims { N: u32 }

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<uniform> d: Dims;

fn narrowed(bits: u32) -> u32 {
    if (F16) { return to_f16(bits); }
    return to_bf16(bits);
}

fn widened(word: u32) -> u32 {
    if (F16) { return bitcast<u32>(f16_low(word)); }
    return word << 16u; // bits alone are moved, so that a NaN arrives as it was
}

// One thread per word of y.
@compute @workgroup_size(WG)
fn pack(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = 2u * (flat_group(wid, groups) * WG + lane);
    if (i >= d.N) { return; }
    var word = narrowed(x[i]);
    if (i + 1u < d.N) { word |= narrowed(x[i + 1u]) << 16u; }
    y[i / 2u] = word;
}

// One thread per word of x.
@compute @workgroup_size(WG)
fn unpack(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let i = 2u * (flat_group(wid, groups) * WG + lane);
    if (i >= d.N) { return; }
    y[i] = widened(x[i / 2u]);
    if (i + 1u < d.N) { y[i + 1u] = widened(x[i / 2u] >> 16u); }
}
