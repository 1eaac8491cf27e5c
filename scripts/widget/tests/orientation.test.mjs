// Pictures without what turns them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bundled } from "./bundled.mjs";

const { unturned } = await bundled("orientation");

const bytes = (...parts) => new Uint8Array(Buffer.concat(parts.map((part) => Buffer.from(part, "latin1"))));

function segment(marker, content) {
    return bytes([0xff, marker, (content.length + 2) >> 8, (content.length + 2) & 255], content);
}

function chunk(name, content) {
    const size = Buffer.alloc(4);
    size.writeUInt32BE(content.length);
    return bytes(size, name, content, "sums");
}

function riffPart(name, content) {
    const size = Buffer.alloc(4);
    size.writeUInt32LE(content.length);
    return bytes(name, size, content, content.length % 2 ? [0] : []);
}

test("a JPEG loses its EXIF data, and nothing else", () => {
    const [start, jfif, xmp] = [[0xff, 0xd8], segment(0xe0, "JFIF\0 and so on"), segment(0xe1, "http://ns.adobe.com/xap/1.0/")];
    // After the scan begins, bytes may look like anything.
    const scan = bytes([0xff, 0xda, 0, 8], "Exif", segment(0xe1, "Exif\0\0 in the scan"), [0xff, 0xd9]);
    const whole = bytes(start, jfif, segment(0xe1, "Exif\0\0MM\0*orientation"), xmp, [0xff], segment(0xe1, "Exif\0\0again"), scan);
    assert.deepEqual(unturned(whole), bytes(start, jfif, xmp, [0xff], scan));
    const plain = bytes(start, jfif, xmp, scan);
    assert.equal(unturned(plain), plain);
});

test("a PNG loses its chunk eXIf", () => {
    const [start, head, end] = ["\x89PNG\r\n\x1a\n", chunk("IHDR", "x".repeat(13)), chunk("IEND", "")];
    const whole = bytes(start, head, chunk("eXIf", "MM\0*"), chunk("IDAT", "eXIf"), end);
    assert.deepEqual(unturned(whole), bytes(start, head, chunk("IDAT", "eXIf"), end));
});

test("of a WebP the part is hidden", () => {
    const parts = (name) => [riffPart("VP8X", "x".repeat(10)), riffPart("VP8 ", "odd"), riffPart(name, "MM\0*")];
    assert.deepEqual(unturned(bytes("RIFF", "size", "WEBP", ...parts("EXIF"))), bytes("RIFF", "size", "WEBP", ...parts("XXXX")));
});

test("what is cut or no picture stays as it is", () => {
    for (const content of ["", "Exif", "\xff\xd8\xff\xe1\xff\xffExi", "\xff\xd8\xff\xe1\0\0Exif\0\0 and then more", "no picture at all, but long"]) {
        const data = bytes(content);
        assert.ok(unturned(data).length <= data.length);
    }
    const cut = bytes([0xff, 0xd8], [0xff, 0xe1, 0xff, 0xff], "Exif\0\0 of more than there is");
    assert.deepEqual(unturned(cut), bytes([0xff, 0xd8]));
    const png = bytes("\x89PNG\r\n\x1a\n", [0xff, 0xff, 0xff, 0xff], "eXIf and so on");
    assert.deepEqual(unturned(png), bytes("\x89PNG\r\n\x1a\n"));
});
