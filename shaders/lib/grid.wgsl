// The index of this workgroup in a grid that was folded to stay below 65,536 groups a side.
fn flat_group(wid: vec3<u32>, groups: vec3<u32>) -> u32 {
    return wid.x + wid.y * groups.x;
}
