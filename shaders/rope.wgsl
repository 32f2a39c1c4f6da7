// Rotary position embedding, in place.   x (N, heads·2·half)   table (P, half): (cos, sin)   positions (N)
//   x[j] ← x[j]·cos − x[j+half]·sin,   x[j+half] ← x[j+half]·cos + x[j]·sin;   sign −1 turns back
//@import grid
const WG: u32 = 64u; //@param  threads per workgroup

struct Dims { N: u32, heads: u32, half: u32, P: u32, sign: f32 }

@group(0) @binding(0) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> positions: array<i32>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;
@group(0) @binding(3) var<uniform> d: Dims;

// One thread per pair.
@compute @workgroup_size(WG)
fn rotate(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let pair = flat_group(wid, groups) * WG + lane;
    let head = pair / d.half;
    let n = head / d.heads;
    if (n >= d.N) { return; }
    let j = pair % d.half;
    let position = u32(clamp(positions[n], 0, i32(d.P) - 1));
    let angle = table[position * d.half + j];
    let sin = angle.y * d.sign;
    let at = head * d.half * 2u + j;
    let a = x[at];
    let b = x[at + d.half];
    x[at] = a * angle.x - b * sin;
    x[at + d.half] = b * angle.x + a * sin;
}
