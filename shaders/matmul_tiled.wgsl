// Matrix product with tiles of both sides in workgroup memory, for hardware adapters. A thread computes TM×TN outputs
// that lie WY rows and WX columns apart, so that neighbours load, read and store side by side.
//@import matmul
const TILE_M: u32 = 64u; //@param  outputs of a workgroup: rows
const TILE_N: u32 = 64u; //@param  and columns
const WY: u32 = 16u;     //@param  threads down
const WX: u32 = 16u;     //@param  and across
const STEP: u32 = 16u;   //@param  k in one turn of the loop
const TM = TILE_M / WY;
const TN = TILE_N / WX;

// Rows of k, one element longer than a tile so that columns fall into different banks.
var<workgroup> a_tile: array<f32, STEP * (TILE_M + 1u)>;
var<workgroup> b_tile: array<f32, STEP * (TILE_N + 1u)>;

@compute @workgroup_size(WX * WY)
fn matmul(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let across = (d.N + TILE_N - 1u) / TILE_N;
    let tile = flat_group(wid, groups);
    if (tile >= across * ((d.M + TILE_M - 1u) / TILE_M)) { return; }
    let m = tile / across * TILE_M;
    let n = tile % across * TILE_N;
    let y = lane / WX;
    let x = lane % WX;

    var sum: array<f32, TM * TN>;
    for (var k = 0u; k < d.K; k += STEP) {
        // Consecutive lanes walk along whichever side lies side by side in memory.
        for (var i = lane; i < TILE_M * STEP; i += WX * WY) {
            let row = select(i / STEP, i % TILE_M, TRANS_A);
            let step = select(i % STEP, i / TILE_M, TRANS_A);
            let at = min(k + step, d.K - 1u);
            a_tile[step * (TILE_M + 1u) + row] = select(0.0, a[a_start(m + row) + at * a_step()], k + step < d.K);
        }
        for (var i = lane; i < TILE_N * STEP; i += WX * WY) {
            let column = select(i % TILE_N, i / STEP, TRANS_B);
            let step = select(i / TILE_N, i % STEP, TRANS_B);
            let at = min(k + step, d.K - 1u);
            b_tile[step * (TILE_N + 1u) + column] = select(0.0, b_at(b_start(n + column) + at * b_step()), k + step < d.K);
        }
        workgroupBarrier();
        for (var step = 0u; step < STEP; step++) {
            var av: array<f32, TM>;
            for (var i = 0u; i < TILE_M / WY; i++) { //@unroll
                av[i] = a_tile[step * (TILE_M + 1u) + i * WY + y];
            } //@end
            for (var j = 0u; j < TILE_N / WX; j++) { //@unroll
                let bv = b_tile[step * (TILE_N + 1u) + j * WX + x];
                for (var i = 0u; i < TILE_M / WY; i++) { //@unroll
                    sum[i * TN + j] = fma(av[i], bv, sum[i * TN + j]);
                } //@end
            } //@end
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < TILE_M / WY; i++) { //@unroll
        for (var j = 0u; j < TILE_N / WX; j++) { //@unroll
            put(m + i * WY + y, n + j * WX + x, sum[i * TN + j]);
        } //@end
    } //@end
}
