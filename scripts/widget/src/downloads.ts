/** Files beside the page or on the Hub, with their progress. */

export class DownloadError extends Error {
    constructor(
        message: string,
        /** Of the server's answer, where there was one. */
        readonly status?: number,
    ) {
        super(message);
    }
}

/** A server that sends nothing for so long, in milliseconds, is given up. */
export const STALL_LIMIT = 60_000;

export async function download(url: string, onShare?: (share: number | null) => void): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    await get(url, async (response, onSign) => {
        const total = Number(response.headers.get("content-length")) || 0;
        const reader = response.body!.getReader();
        for (let read = await reader.read(); !read.done; read = await reader.read()) {
            onSign();
            chunks.push(read.value);
            size += read.value.length;
            onShare?.(total ? Math.min(size / total, 1) : null);
        }
    });
    const data = new Uint8Array(size);
    let place = 0;
    for (const chunk of chunks) {
        data.set(chunk, place);
        place += chunk.length;
    }
    return data;
}

export async function downloadJson(url: string, onShare?: (share: number | null) => void): Promise<any> {
    const text = new TextDecoder().decode(await download(url, onShare));
    try {
        return JSON.parse(text);
    } catch {
        throw new DownloadError(`${url} is no JSON`);
    }
}

/** Bytes of a file, without fetching it; null where there is none. */
export async function sizeOf(url: string): Promise<number | null> {
    try {
        const response = await fetch(url, { method: "HEAD", signal: AbortSignal.timeout(STALL_LIMIT) });
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

/** What `take` makes of the answer; it says by `onSign` that something came. */
async function get<T>(url: string, take: (response: Response, onSign: () => void) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const onSign = () => {
        clearTimeout(timer);
        timer = setTimeout(() => controller.abort(), STALL_LIMIT);
    };
    onSign();
    try {
        const response = await fetch(url, { signal: controller.signal });
        if (!response.ok) throw new DownloadError(`${url}: ${answered(response.status)}`, response.status);
        onSign();
        return await take(response, onSign);
    } catch (error) {
        if (error instanceof DownloadError) throw error;
        if (controller.signal.aborted) throw new DownloadError(`${url}: nothing came for ${STALL_LIMIT / 1000} seconds; try again`);
        throw new DownloadError(`${url} cannot be fetched; is there a connection?`);
    } finally {
        clearTimeout(timer);
    }
}

function answered(status: number): string {
    return status === 404 ? "404, there is no such file" : `the server answers ${status}; try again later`;
}
