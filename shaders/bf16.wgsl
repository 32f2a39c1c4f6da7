// f32 to packed bfloat16 and back.   N elements; bits alone are moved, so that no value is lost on the way.
//@import grid
const WG: u32 = 64u; //@param  threads a workgroup

struct Dims { N: u32 }

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<uniform> d: Dims;

// The bfloat16 nearest to an f32, ties to even; a NaN is made quiet and keeps its sign and the top of its payload.
fn round_to_bf16(bits: u32) -> u32 {
    let nearest = (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
    return select(nearest, (bits >> 16u) | 0x40u, (bits & 0x7fffffffu) > 0x7f800000u);
}

// One thread a word of y.
@compute @workgroup_size(WG)
fn pack(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = 2u * (flat_group(wid, groups) * WG + lane);
    if (i >= d.N) { return; }
    var word = round_to_bf16(x[i]);
    if (i + 1u < d.N) { word |= round_to_bf16(x[i + 1u]) << 16u; }
    y[i / 2u] = word;
}

// One thread a word of x.
@compute @workgroup_size(WG)
fn unpack(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let i = 2u * (flat_group(wid, groups) * WG + lane);
    if (i >= d.N) { return; }
    let word = x[i / 2u];
    y[i] = word << 16u;
    if (i + 1u < d.N) { y[i + 1u] = word & 0xffff0000u; }
}
