// The keys' side of the attention kernels whose blocks are query rows: k and v from global or workgroup memory.
var<workgroup> tile_k: array<V, TILE * VECS>;
var<workgroup> tile_v: array<V, TILE * VECS>;

fn load_k(at: u32) -> V {
    return tile_k[at]; //@if TILED
    return k[at]; //@if !TILED
}

fn load_v(at: u32) -> V {
    return tile_v[at]; //@if TILED
    return v[at]; //@if !TILED
}

// Brings the keys and values n0, n0+1, … of the count that the block visits.
fn stage(b: u32, head: u32, n0: u32, count: u32, lo: u32, lane: u32) {
    workgroupBarrier();
    for (var e = lane; e < TILE * VECS; e += WG) {
        let at = key_at(b, visited(min(n0 + e / VECS, count - 1u), lo), head) + e % VECS;
        tile_k[e] = k[at];
        tile_v[e] = v[at];
    }
    workgroupBarrier();
}
