//! The keys that this release pins are those of its circuits. `ZISK_WRITE_KEYS=1` writes them again; `ZISK_ATTACK_ALL=1` makes all of them
//! rather than a sample.

mod samples;

use p3_matrix::Matrix;
use samples::{Random, all, seed};
use zisk_protocol::shape::shapes;
use zisk_recursion::gadgets::segment::SegmentShape;
use zisk_recursion::gadgets::tree::TreeShape;
use zisk_recursion::release;
use zisk_recursion::tree::Tree;

#[test]
fn pinned_keys_are_those_of_the_circuits() {
    if std::env::var_os("ZISK_WRITE_KEYS").is_some() {
        let tree = Tree::new(release::shape(), release::segment_parameters(), shapes()).expect("the shapes of this release");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/keys.txt");
        std::fs::write(path, release::lines(&tree).expect("keys")).expect("written");
        return;
    }
    let tree = release::tree().expect("keys.txt is whole");
    let count = tree.kinds().len() as u32;
    assert_eq!(count as usize, 4 + shapes().len());
    let mut random = Random(seed());
    // The joins always.
    let sample = (0..4).chain((0..4).map(|_| random.below(count as usize) as u32));
    for circuit in if all() { (0..count).collect::<Vec<_>>() } else { sample.collect() } {
        let key = tree.proving_key(circuit).expect("the key that is pinned");
        assert_eq!(key.circuit.preprocessed.each_ref().map(|table| table.height().ilog2() as u8), key.verifying.log_heights);
    }
}

#[test]
fn the_circuits_are_not_higher_than_they_must_be() {
    let segments: Vec<SegmentShape> =
        shapes().iter().map(|heights| SegmentShape::new(release::segment_parameters(), *heights).expect("a shape")).collect();
    let [small, large] = TreeShape::fitting(release::shape().parameters, &segments).log_heights;
    let own = release::shape().log_heights;
    assert_eq!(own[1], large);
    // Small ones have room for lifts beside joins, at the price of the horner table alone.
    assert!(small.iter().zip(own[0]).zip(large).all(|((&least, own), large)| least <= own && own <= large));
}
