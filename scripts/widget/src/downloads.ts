/** Files beside the page or on the Hub, with their progress. */

export class DownloadError extends Error {}

export async function download(url: string, onShare?: (share: number | null) => void): Promise<Uint8Array> {
    const response = await get(url);
    const total = Number(response.headers.get("content-length")) || 0;
    if (!response.body) return new Uint8Array(await response.arrayBuffer());
    const chunks: Uint8Array[] = [];
    let size = 0;
    const reader = response.body.getReader();
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
        chunks.push(read.value);
        size += read.value.length;
        onShare?.(total ? Math.min(size / total, 1) : null);
    }
    const data = new Uint8Array(size);
    let place = 0;
    for (const chunk of chunks) {
        data.set(chunk, place);
        place += chunk.length;
    }
    return data;
}

export async function downloadJson(url: string): Promise<any> {
    const response = await get(url);
    try {
        return await response.json();
    } catch {
        throw new DownloadError(`${url} is no JSON`);
    }
}

/** Bytes of a file, without fetching it; null where there is none. */
export async function sizeOf(url: string): Promise<number | null> {
    try {
        const response = await fetch(url, { method: "HEAD" });
        if (!response.ok) return null;
        return Number(response.headers.get("x-linked-size") ?? response.headers.get("content-length")) || null;
    } catch {
        return null;
    }
}

/** Unpacked, unless the server has done it. */
export async function unpacked(data: Uint8Array): Promise<Uint8Array> {
    if (data[0] !== 0x1f || data[1] !== 0x8b) return data;
    const stream = new Blob([data as BlobPart]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function get(url: string): Promise<Response> {
    let response: Response;
    try {
        response = await fetch(url);
    } catch {
        throw new DownloadError(`${url} cannot be fetched; is there a connection?`);
    }
    if (!response.ok) throw new DownloadError(`${url}: ${response.status}, there is no such file`);
    return response;
}
