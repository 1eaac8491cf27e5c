/** Where a glTF scene puts its meshes: transforms, instances, skins; the twin of `mrd_hf.models.gltf_nodes`. */

import { ShapeError } from "../shapes";
import type { Accessor, GltfDocument, Json } from "./gltf_document";

/** 4 x 4, by columns. */
export type Matrix = ArrayLike<number>;
export const IDENTITY: Matrix = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
const MAX_DEPTH = 1000;
// As many in any file; in a larger one, one for so many of its bytes.
const [HARMLESS_NODES, BYTES_A_NODE, MOST_NODES] = [50_000, 20, 500_000];
const [HARMLESS_INSTANCES, BYTES_AN_INSTANCE, MOST_INSTANCES] = [200_000, 10, 500_000];
// Names are kept of so many nodes above a mesh.
const MAX_GROUPS = 32;

/** A mesh and where it is. */
export interface PlacedMesh {
    mesh: number;
    /** Of each instance; unused where it has a skin. */
    transforms: Matrix[];
    /** What each joint of its skin does to a point. */
    joints: Matrix[] | null;
    /** Of the morph targets; without them the mesh's own hold. */
    weights: unknown;
    /** The node's, or the mesh's. */
    name: string;
    /** Names of the nodes above it, its own and the mesh's. */
    groups: string[];
}

/** Of EXT_mesh_gpu_instancing: where it puts a node's mesh. */
interface Placing {
    count: number;
    translation: Accessor | null;
    rotation: Accessor | null;
    scale: Accessor | null;
}

interface Waiting {
    index: number;
    parent: Matrix;
    depth: number;
    isVisible: boolean;
    above: string[];
}

export function* placedMeshes(document: GltfDocument): Generator<PlacedMesh> {
    const nodes: Json[] = document.json.nodes ?? [];
    if (!nodes.length) {
        for (const [mesh, its] of (document.json.meshes ?? []).entries()) {
            yield { mesh, transforms: [IDENTITY], joints: null, weights: undefined, name: named(its)[0] ?? "", groups: named(its) };
        }
        return;
    }
    const mostNodes = Math.min(Math.max(HARMLESS_NODES, document.size / BYTES_A_NODE), MOST_NODES);
    const worlds = new Map<number, Matrix>();
    const shown: { node: Json; world: Matrix; groups: string[] }[] = [];
    const waiting: Waiting[] = roots(document)
        .map((index) => ({ index, parent: IDENTITY, depth: 0, isVisible: true, above: [] }))
        .reverse();
    for (let visited = 0; waiting.length; visited++) {
        const { index, parent, depth, isVisible, above } = waiting.pop()!;
        const node = document.item("nodes", index);
        const children: number[] = node.children ?? [];
        // Before they take memory.
        if (depth > MAX_DEPTH || visited + waiting.length + children.length > mostNodes) {
            throw new ShapeError("its nodes are too many, or nested in a circle");
        }
        const world = multiplied(parent, localMatrix(node));
        worlds.set(index, world);
        const visible = isVisible && node.extensions?.KHR_node_visibility?.visible !== false;
        const groups = [...above.slice(-MAX_GROUPS), ...named(node)];
        if (node.mesh !== undefined && visible) shown.push({ node, world, groups });
        for (const child of [...children].reverse()) {
            waiting.push({ index: child, parent: world, depth: depth + 1, isVisible: visible, above: groups });
        }
    }
    const parents = new Map<number, number>();
    nodes.forEach((node, parent) => (node.children ?? []).forEach((child: number) => parents.set(child, parent)));
    const skins = new Map<number, Matrix[]>();
    let instanced = 0;
    for (const { node, world, groups } of shown) {
        const mesh = named(document.item("meshes", node.mesh));
        const name = named(node)[0] ?? mesh[0] ?? "";
        const its = { mesh: node.mesh as number, weights: node.weights, name, groups: [...groups, ...mesh] };
        if (node.skin === undefined) {
            const placing = readPlacing(document, node);
            instanced += placing?.count ?? 0;
            const mostInstances = Math.min(Math.max(HARMLESS_INSTANCES, document.size / BYTES_AN_INSTANCE), MOST_INSTANCES);
            if (instanced > mostInstances) throw new ShapeError(`it places meshes ${instanced.toLocaleString("en")} times`);
            yield { ...its, transforms: placing ? instances(placing).map((here) => multiplied(world, here)) : [world], joints: null };
            continue;
        }
        const joints = skins.get(node.skin) ?? jointMatrices(document, node.skin, worlds, parents);
        skins.set(node.skin, joints);
        yield { ...its, transforms: [world], joints };
    }
}

function named(item: Json): string[] {
    return item.name ? [String(item.name)] : [];
}

function roots(document: GltfDocument): number[] {
    const nodes: Json[] = document.json.nodes;
    const scenes: Json[] = document.json.scenes ?? [];
    if (scenes.length) return document.item("scenes", document.json.scene ?? 0).nodes ?? [];
    // The same once more, in less detail, is no root either.
    const below = new Set(nodes.flatMap((node) => [...(node.children ?? []), ...(node.extensions?.MSFT_lod?.ids ?? [])]));
    return nodes.map((_, i) => i).filter((i) => !below.has(i));
}

/** Null where a node has none. */
function readPlacing(document: GltfDocument, node: Json): Placing | null {
    const names: Json | undefined = node.extensions?.EXT_mesh_gpu_instancing?.attributes;
    const read = (name: string) => (names?.[name] === undefined ? null : document.accessor(names[name]));
    const [translation, rotation, scale] = [read("TRANSLATION"), read("ROTATION"), read("SCALE")];
    const some = translation ?? rotation ?? scale;
    if (!some) return null;
    if ([translation, rotation, scale].some((other) => other && other.count !== some.count)) {
        throw new ShapeError("the places, turns and sizes of a mesh that is placed many times differ in number");
    }
    return { count: some.count, translation, rotation, scale };
}

function instances({ count, translation, rotation, scale }: Placing): Matrix[] {
    const row = (from: Accessor | null, i: number, otherwise: number[]) =>
        from ? otherwise.map((_, k) => from.values[i * from.width + k]) : otherwise;
    return Array.from({ length: count }, (_, i) =>
        composed(row(translation, i, [0, 0, 0]), row(rotation, i, [0, 0, 0, 1]), row(scale, i, [1, 1, 1])),
    );
}

/** What each joint does to a point of the mesh, in the pose of the file. */
function jointMatrices(document: GltfDocument, index: number, worlds: Map<number, Matrix>, parents: Map<number, number>): Matrix[] {
    const skin = document.item("skins", index);
    const joints: number[] = skin.joints ?? [];
    const matrices = joints.length ? joints.map((joint) => worldOf(document, joint, worlds, parents)) : [IDENTITY];
    if (skin.inverseBindMatrices === undefined) return matrices;
    const inverse = document.accessor(skin.inverseBindMatrices);
    if (inverse.width !== 16 || inverse.count < joints.length) {
        throw new ShapeError(`it has ${inverse.count} inverse bind matrices for ${joints.length} joints`);
    }
    return matrices.map((matrix, i) => multiplied(matrix, inverse.values.subarray(16 * i, 16 * i + 16)));
}

/** The transform of a node, also of one outside the scene. */
function worldOf(document: GltfDocument, index: number, worlds: Map<number, Matrix>, parents: Map<number, number>): Matrix {
    const chain = [index];
    for (let last = index; !worlds.has(last) && parents.has(last) && chain.length <= MAX_DEPTH; ) {
        last = parents.get(last)!;
        chain.push(last);
    }
    let world: Matrix = IDENTITY;
    for (const node of chain.reverse()) {
        if (!worlds.has(node)) worlds.set(node, multiplied(world, localMatrix(document.item("nodes", node))));
        world = worlds.get(node)!;
    }
    return worlds.get(index)!;
}

function localMatrix(node: Json): Matrix {
    const matrix: Matrix =
        node.matrix ?? composed(node.translation ?? [0, 0, 0], node.rotation ?? [0, 0, 0, 1], node.scale ?? [1, 1, 1]);
    if (matrix.length === 16 && Array.from(matrix).every(Number.isFinite)) return matrix;
    throw new ShapeError("a node's transform is damaged");
}

/** Scales, then rotates by a quaternion (x, y, z, w), then translates. */
function composed([tx, ty, tz]: number[], rotation: number[], [sx, sy, sz]: number[]): Matrix {
    const [x, y, z, w] = unit(rotation);
    return [
        sx * (1 - 2 * (y * y + z * z)), sx * 2 * (x * y + z * w), sx * 2 * (x * z - y * w), 0,
        sy * 2 * (x * y - z * w), sy * (1 - 2 * (x * x + z * z)), sy * 2 * (y * z + x * w), 0,
        sz * 2 * (x * z + y * w), sz * 2 * (y * z - x * w), sz * (1 - 2 * (x * x + y * y)), 0,
        tx, ty, tz, 1,
    ];
}

function unit(rotation: number[]): number[] {
    const length = Math.hypot(...rotation);
    return length > 0 ? rotation.map((value) => value / length) : [0, 0, 0, 1];
}

function multiplied(a: Matrix, b: Matrix): Matrix {
    return Array.from({ length: 16 }, (_, i) =>
        [0, 1, 2, 3].reduce((sum, k) => sum + a[4 * k + (i % 4)] * b[4 * Math.floor(i / 4) + k], 0),
    );
}

/** What a matrix makes of points, three numbers each. */
export function moved(positions: Float64Array, m: Matrix): Float64Array {
    const found = new Float64Array(positions.length);
    for (let i = 0; i < positions.length; i += 3) {
        const [x, y, z] = [positions[i], positions[i + 1], positions[i + 2]];
        for (let axis = 0; axis < 3; axis++) found[i + axis] = m[axis] * x + m[4 + axis] * y + m[8 + axis] * z + m[12 + axis];
    }
    return found;
}
