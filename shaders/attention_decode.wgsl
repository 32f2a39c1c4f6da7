// Attention of one new token a batch row against a cache of keys and values.
//   q, o (B, H·D)   k, v (B·len, Hkv·D)   position (B): the last row of the cache that is seen, W rows of it at most
//@import grid
alias V = vec4<f32>;   //@param  the unit of loads: vec2<f32> where 4 does not divide the head dimension
const VECS: u32 = 16u; //@param  units in a head
const OWN: u32 = 1u;   //@param  output elements a thread, ⌈D/WG⌉
const WG: u32 = 64u;   //@param  threads per workgroup

struct Dims { B: u32, len: u32, W: u32, H: u32, Hkv: u32, D: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> q: array<V>;
@group(0) @binding(1) var<storage, read> k: array<V>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> position: array<i32>;
@group(0) @binding(4) var<storage, read_write> o: array<f32>;
@group(0) @binding(5) var<uniform> d: Dims;

var<workgroup> last: i32;
var<workgroup> scores: array<f32, WG>;
var<workgroup> weights: array<f32, WG>;

// One workgroup per query head. Of WG keys at a time each thread scores one, then all add up the values, each thread
// its own elements.
@compute @workgroup_size(WG)
fn decode(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let row = flat_group(wid, groups);
    if (row >= d.B * d.H) { return; }
    let b = row / d.H;
    let head = row % d.H / (d.H / d.Hkv);
    if (lane == 0u) { last = position[b]; }
    let keys = u32(clamp(workgroupUniformLoad(&last), 0, i32(d.len) - 1)) + 1u;
    let first = keys - min(keys, d.W);

    var acc: array<f32, OWN>;
    var peak = -3.4e38;
    var sum = 0.0;
    for (var j0 = first; j0 < keys; j0 += WG) {
        let here = min(WG, keys - j0);
        if (lane < here) {
            let at = ((b * d.len + j0 + lane) * d.Hkv + head) * VECS;
            var s = 0.0;
            for (var c = 0u; c < VECS; c++) {
                s += dot(q[row * VECS + c], k[at + c]);
            }
            scores[lane] = s * d.scale;
        }
        workgroupBarrier();
        let before = peak;
        for (var j = 0u; j < here; j++) {
            peak = max(peak, scores[j]);
        }
        if (lane < here) { weights[lane] = exp(scores[lane] - peak); }
        workgroupBarrier();
        let shrink = exp(before - peak);
        sum *= shrink;
        for (var j = 0u; j < here; j++) {
            sum += weights[j];
        }
        for (var e = 0u; e < OWN; e++) { //@unroll
            acc[e] *= shrink;
            let at = ((b * d.len + j0) * d.Hkv + head) * d.D + min(lane + e * WG, d.D - 1u);
            for (var j = 0u; j < here; j++) {
                acc[e] += weights[j] * v[at + j * d.Hkv * d.D];
            }
        } //@end
    }
    for (var e = 0u; e < OWN; e++) { //@unroll
        if (lane + e * WG < d.D) { o[row * d.D + lane + e * WG] = acc[e] / sum; }
    } //@end
}
