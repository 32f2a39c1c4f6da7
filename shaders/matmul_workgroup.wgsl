// Matrix product through workgroup memory: a workgroup loads a slice of both tiles once for all its threads.
//@import matmul
//@import matmul_scalar
const TILE_M: u32 = 32u; //@param  outputs of a workgroup: rows
const TILE_N: u32 = 32u; //@param  and columns
const WY: u32 = 8u;      //@param  threads down
const WX: u32 = 8u;      //@param  and across
const TILE_K: u32 = 16u; //@param  depth of a slice
const WG = WX * WY;
const TM = TILE_M / WY;
const TN = TILE_N / WX;

// Slices lie k by k. The odd row length keeps the threads that write one row each on different banks.
const A_ROW = TILE_M + 1u;
const B_ROW = TILE_N + 1u;
var<workgroup> a_slice: array<f32, TILE_K * A_ROW>;
var<workgroup> b_slice: array<f32, TILE_K * B_ROW>;

@compute @workgroup_size(WG)
fn matmul(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let across = (d.N + TILE_N - 1u) / TILE_N;
    let tile = flat_group(wid, groups);
    let m = tile / across * TILE_M;
    let n = tile % across * TILE_N;
    if (m >= d.M) { return; }
    // A thread's outputs are WY rows and WX columns apart, so that neighbours read and store side by side.
    let row = lane / WX;
    let column = lane % WX;

    var sum: array<f32, TM * TN>;
    for (var k0 = 0u; k0 < d.K; k0 += TILE_K) {
        // Neighbouring threads load neighbouring elements, whichever way the side lies. Past the end of k are zeros.
        for (var e = lane; e < TILE_K * TILE_M; e += WG) {
            let k = select(e % TILE_K, e / TILE_M, TRANS_A);
            let i = select(e / TILE_K, e % TILE_M, TRANS_A);
            let at = a_start(m + i) + min(k0 + k, d.K - 1u) * a_step();
            a_slice[k * A_ROW + i] = select(0.0, a[at], k0 + k < d.K);
        }
        for (var e = lane; e < TILE_K * TILE_N; e += WG) {
            let k = select(e / TILE_N, e % TILE_K, TRANS_B);
            let j = select(e % TILE_N, e / TILE_K, TRANS_B);
            let at = b_start(n + j) + min(k0 + k, d.K - 1u) * b_step();
            b_slice[k * B_ROW + j] = select(0.0, b_at(at), k0 + k < d.K);
        }
        workgroupBarrier();
        for (var k = 0u; k < TILE_K; k++) {
            var x: array<f32, TM>;
            for (var i = 0u; i < TILE_M / WY; i++) { //@unroll
                x[i] = a_slice[k * A_ROW + row + i * WY];
            } //@end
            for (var j = 0u; j < TILE_N / WX; j++) { //@unroll
                let y = b_slice[k * B_ROW + column + j * WX];
                for (var i = 0u; i < TILE_M / WY; i++) { //@unroll
                    sum[i * TN + j] = fma(x[i], y, sum[i * TN + j]);
                } //@end
            } //@end
        }
        workgroupBarrier(); // the slices are written again
    }
    for (var i = 0u; i < TILE_M / WY; i++) { //@unroll
        for (var j = 0u; j < TILE_N / WX; j++) { //@unroll
            put(m + row + i * WY, n + column + j * WX, sum[i * TN + j]);
        } //@end
    } //@end
}
