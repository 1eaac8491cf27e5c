/** Which reader a file takes: its suffix says it. */

import { chosenParts, type PartChoice } from "../left_out_parts";
import { checked, checkFileSize, ShapeError, type Shape } from "../shapes";
import { Companions, type Decoders, type DroppedFiles } from "./companions";
import { readGltf } from "./gltf";
import { readNpy } from "./npy";
import { readObj } from "./obj";
import { readPly } from "./ply";
import { readStl } from "./stl";

// Of browsers that have no more memory, or allow no longer array or text. A length of "typed arrays" is one that a file says.
const OF_MEMORY = /array buffer allocation|allocation size overflow|invalid (?:array|string) length|out of memory/i;

export const SUFFIXES = [".glb", ".gltf", ".obj", ".ply", ".stl", ".npy"];

/** Of files that were dropped together, the name of the shape among them. */
export function shapeAmong(names: string[]): string {
    const found = names.find((name) => SUFFIXES.includes(suffix(name)));
    if (!found) {
        const kinds = names.map((name) => (suffix(name) ? `${suffix(name)} files` : "folders and files without an ending"));
        const given = [...new Set(kinds)].join(", ");
        throw new ShapeError(`${given} are not read here; give one of ${SUFFIXES.join(", ")}`);
    }
    return found;
}

export async function readShape(name: string, files: DroppedFiles, decoders: Decoders, choice: PartChoice): Promise<Shape> {
    checkFileSize(files.bytes(name));
    const data = files.read(name);
    if (data.length === 0) throw new ShapeError("it is empty");
    const companions = new Companions(files, decoders);
    try {
        return checked(chosenParts(await readKind(suffix(name), data, companions, choice), choice));
    } catch (error) {
        if (error instanceof ShapeError) throw error;
        const message = error instanceof Error ? error.message : String(error);
        if (OF_MEMORY.test(message)) throw new ShapeError("it is too large for the memory of this browser; simplify it");
        // A file that is damaged in another way ends in an error of any kind.
        throw new ShapeError(`it is damaged (${message})`);
    }
}

async function readKind(kind: string, data: Uint8Array, companions: Companions, choice: PartChoice): Promise<Shape> {
    switch (kind) {
        case ".glb": case ".gltf": return readGltf(data, companions);
        case ".obj": return readObj(data, companions, choice);
        case ".ply": return readPly(data, companions);
        case ".stl": return readStl(data);
        default: return readNpy(data);
    }
}

function suffix(name: string): string {
    const at = name.lastIndexOf(".");
    return at < 0 ? "" : name.slice(at).toLowerCase();
}
