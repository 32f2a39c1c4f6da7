// Matrix product by quads of lanes, without workgroup memory. Lane l of a quad holds rows l, l+4, … of the tile's A
// and columns of its B. A column times the row of each of the four lanes, which quad swaps bring, makes a 4×4 outer
// product in four multiply-adds: the sums of a lane lie on the four diagonals, and four lanes load nothing twice.
enable subgroups;
//@import matmul
const TILE_M: u32 = 16u; //@param  outputs of a quad: rows
const TILE_N: u32 = 16u; //@param  and columns
const STEP: u32 = 8u;    //@param  k in one turn of the loop, an even number
const TM = TILE_M / 4u;
const TN = TILE_N / 4u;

// Where the lane's column j lies in the tile. Of a bfloat16 row a lane takes both columns of a word.
fn column(j: u32, lane: u32) -> u32 {
    if (B_PAIRS && !TRANS_B) { return j / 2u * 8u + lane * 2u + j % 2u; }
    return j * 4u + lane;
}

// The value of this lane, of the lane beside it, below it and across.
fn of_quad(v: f32) -> vec4<f32> {
    return vec4<f32>(v, quadSwapX(v), quadSwapY(v), quadSwapDiagonal(v));
}

@compute @workgroup_size(4)
fn matmul(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let across = (d.N + TILE_N - 1u) / TILE_N;
    let tile = flat_group(wid, groups);
    let m = tile / across * TILE_M;
    let n = tile % across * TILE_N;

    var a_from: array<u32, TM>;
    var b_from: array<u32, TN>;
    var sum: array<vec4<f32>, TM * TN>; // of row i·4+lane and columns (j, lane^0), (j, lane^1), (j, lane^2), (j, lane^3)
    for (var i = 0u; i < TILE_M / 4; i++) { //@unroll
        a_from[i] = a_start(m + i * 4u + lane);
    } //@end
    for (var j = 0u; j < TILE_N / 4; j++) { //@unroll
        b_from[j] = b_start(n + column(j, lane));
    } //@end

    var x: array<f32, TM>;
    var word: array<u32, TN>; // holds the second element of a pair until its turn
    var k = 0u;
    for (; k + STEP <= d.K; k += STEP) {
        for (var step = 0u; step < STEP; step++) { //@unroll
            let a_skip = (k + step) * a_step();
            let b_skip = (k + step) * b_step();
            for (var i = 0u; i < TILE_M / 4; i++) { //@unroll
                x[i] = a[a_from[i] + a_skip];
            } //@end
            for (var j = 0u; j < TILE_N / 4; j++) { //@unroll
                var y: vec4<f32>;
                if (B_PAIRS) {
                    const second = select(j, step, TRANS_B) % 2u == 1u;
                    const w = select(j / 2u, j, TRANS_B);
                    if (!second) { word[w] = b[(b_from[j] + b_skip) / 2u]; }
                    y = of_quad(select(bf16_low(word[w]), bf16_high(word[w]), second));
                } else {
                    y = of_quad(b_at(b_from[j] + b_skip));
                }
                for (var i = 0u; i < TILE_M / 4; i++) { //@unroll
                    sum[i * TN + j] += x[i] * y;
                } //@end
            } //@end
        } //@end
    }
    for (; k < d.K; k++) {
        for (var i = 0u; i < TILE_M / 4; i++) { //@unroll
            x[i] = a[a_from[i] + k * a_step()];
        } //@end
        for (var j = 0u; j < TILE_N / 4; j++) { //@unroll
            let y = of_quad(b_at(b_from[j] + k * b_step()));
            for (var i = 0u; i < TILE_M / 4; i++) { //@unroll
                sum[i * TN + j] += x[i] * y;
            } //@end
        } //@end
    }
    for (var i = 0u; i < TILE_M / 4; i++) { //@unroll
        for (var j = 0u; j < TILE_N / 4; j++) { //@unroll
            for (var s = 0u; s < 4; s++) { //@unroll
                put(m + i * 4u + lane, n + column(j, lane ^ s), sum[i * TN + j][s]);
            } //@end
        } //@end
    } //@end
}
