/** Texts of any encoding, whose names are files' and materials'; the twin of `spellings` in `mrd_hf.models.obj_materials`. */

// Those of the tools and countries that write OBJ, the likeliest first. The last one reads everything.
const ENCODINGS = ["utf-8", "gb18030", "shift_jis", "euc-kr", "big5", "windows-1251", "latin1"];
// A byte that is no ASCII stands for itself here, among characters that no text has, until it is known what it means.
const HELD = 0xf700;
const ARE_HELD = /[\uf780-\uf7ff]/;

/** UTF-16 with its mark, else UTF-8; of another encoding, ASCII is plain and other bytes are held for `spellings`. */
export function decodedText(data: Uint8Array): string {
    if (data[0] === 0xff && data[1] === 0xfe) return new TextDecoder("utf-16le").decode(data);
    if (data[0] === 0xfe && data[1] === 0xff) return new TextDecoder("utf-16be").decode(data);
    try {
        return new TextDecoder("utf-8", { fatal: true }).decode(data);
    } catch {
        return new TextDecoder("utf-16le").decode(Uint16Array.from(data, (byte) => (byte < 0x80 ? byte : HELD + byte)));
    }
}

/** What a name of a `decodedText` may be, in every encoding that can hold it, the likeliest first. */
export function spellings(name: string): string[] {
    if (!ARE_HELD.test(name)) return [name];
    const bytes = Uint8Array.from(name, (letter) => letter.charCodeAt(0) & 0xff);
    const found = ENCODINGS.flatMap((encoding) => {
        try {
            return [new TextDecoder(encoding, { fatal: true }).decode(bytes)];
        } catch {
            return [];
        }
    });
    return [...new Set(found)];
}

/** A name for messages. */
export function readable(name: string): string {
    return spellings(name)[0];
}
