// What a shape may hold is counted before it takes memory.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bundled } from "./bundled.mjs";

const { checkPixels } = await bundled("picture_size");
const { Companions } = await bundled("readers/companions");
const { decodeDraco, UnpackedBytes } = await bundled("readers/gltf_compression");

/** A PNG that says how large it is, in so many bytes. */
function png(width, height, bytes) {
    const data = Buffer.alloc(bytes);
    data.writeUInt32BE(0x89504e47, 0);
    data.writeUInt32BE(width, 16);
    data.writeUInt32BE(height, 20);
    return new Uint8Array(data);
}

test("a picture may have 2^26 pixels, and fewer of few bytes", () => {
    checkPixels(png(8192, 8192, 600_000));
    checkPixels(png(5000, 5000, 100));
    assert.throws(() => checkPixels(png(8192, 8193, 10 ** 6)), /8192 x 8193 pixels, too many/);
    assert.throws(() => checkPixels(png(8192, 8192, 100_000)), /too many/);
    checkPixels(new Uint8Array(40));
});

test("textures are counted together", async () => {
    const files = new Map(["a", "b", "c"].map((name) => [name, new Uint8Array(1)]));
    const picture = async () => ({ width: 8192, height: 8192, data: new Uint8Array(4) });
    const [companions, warnings] = [new Companions(files, { picture }), []];
    const found = [];
    for (const name of ["a", "b", "a", "c"]) found.push(await companions.picture(name, warnings));
    assert.deepEqual(found.map((texture) => texture?.width), [8192, 8192, 8192, undefined]);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0], /cannot be read: c \(its textures are too many/);
    assert.throws(() => companions.takeTexels(1), /too many/);
});

test("what Draco unpacks to is counted with all that was unpacked before", () => {
    const POINTS = 2_000_000;
    const attribute = { ptr: 1, num_components: () => 3, data_type: () => 9 };
    const draco = {
        HEAPU8: new Uint8Array(64), TRIANGULAR_MESH: 1, DT_FLOAT32: 9, DT_FLOAT64: 10, DT_INT32: 5,
        Decoder: class {
            GetEncodedGeometryType = () => 0;
            DecodeBufferToPointCloud = () => ({ ok: () => true });
            GetAttributeByUniqueId = () => attribute;
            GetAttributeDataArrayForAllPoints = () => true;
        },
        DecoderBuffer: class { Init() {} },
        PointCloud: class { ptr = 1; num_points = () => POINTS; },
        destroy() {}, _malloc: () => 4, _free() {},
    };
    const names = (count) => new Map(Array.from({ length: count }, (_, i) => [`TEXCOORD_${i}`, 0]));
    const kept = new UnpackedBytes();
    // 48 MB each, of 512 MiB.
    assert.equal(decodeDraco(draco, new Uint8Array(9), names(11), kept).attributes.size, 11);
    assert.throws(() => decodeDraco(draco, new Uint8Array(9), names(1), kept), /MiB once unpacked/);
});
