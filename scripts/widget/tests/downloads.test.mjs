// Downloads that fail, and those that stop half-way. A real server answers them.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, mock, test } from "node:test";
import { bundled } from "./bundled.mjs";

const { download, downloadJson, sizeOf, STALL_LIMIT } = await bundled("downloads");

let server, base, slow;
const waiting = [];
const answers = {
    "/whole": (response) => response.end(Buffer.from([1, 2, 3])),
    "/empty": (response) => response.end(),
    "/words": (response) => response.end("no json"),
    "/busy": (response) => response.writeHead(503).end(),
    "/silent": () => {},
    "/slow": (response) => (slow = response).writeHead(200).flushHeaders(),
    "/half": (response) => response.writeHead(200, { "content-length": 6 }).write(Buffer.from([1, 2, 3])),
    "/cut": (response) => {
        response.writeHead(200, { "content-length": 6 }).write(Buffer.from([1, 2, 3]));
        setImmediate(() => response.destroy());
    },
};

before(async () => {
    server = createServer(({ url }, response) => {
        const answer = answers[url] ?? ((other) => other.writeHead(404).end());
        answer(response);
        for (const hear of waiting.splice(0)) hear();
    });
    await new Promise((done) => server.listen(0, "127.0.0.1", done));
    base = `http://127.0.0.1:${server.address().port}`;
});

after(() => {
    server.closeAllConnections();
    server.close();
});

test("what is there comes whole, with its share", async () => {
    const shares = [];
    assert.deepEqual([...(await download(`${base}/whole`, (share) => shares.push(share)))], [1, 2, 3]);
    assert.equal(shares.at(-1), 1);
    assert.deepEqual([...(await download(`${base}/empty`))], []);
});

test("JSON that comes slowly is awaited as long as it comes, and says so", async () => {
    mock.timers.enable({ apis: ["setTimeout"] });
    try {
        const came = new Promise((done) => waiting.push(done));
        const shares = [];
        let hear = () => {};
        const found = downloadJson(`${base}/slow`, (share) => (shares.push(share), hear()));
        await came;
        for (const part of ['{"a"', ": [1", ", 2]"]) {
            const heard = new Promise((done) => (hear = done));
            slow.write(part);
            await heard;
            mock.timers.tick(STALL_LIMIT - 1);
        }
        slow.end("}");
        assert.deepEqual(await found, { a: [1, 2] });
        assert.ok(shares.length >= 4);
    } finally {
        mock.timers.reset();
    }
});

test("each failure says of which address and what to do", async () => {
    await assert.rejects(download(`${base}/none`), new RegExp(`${base}/none: 404, there is no such file`));
    await assert.rejects(download(`${base}/busy`), /busy: the server answers 503; try again later/);
    await assert.rejects(download(`${base}/cut`), /cut cannot be fetched; is there a connection/);
    await assert.rejects(download("http://127.0.0.1:1/"), /127\.0\.0\.1:1\/ cannot be fetched/);
    await assert.rejects(downloadJson(`${base}/words`), /words is no JSON/);
    assert.equal(await sizeOf(`${base}/none`), null);
});

for (const path of ["/silent", "/half"]) {
    test(`a server that sends nothing any more is given up: ${path}`, async () => {
        mock.timers.enable({ apis: ["setTimeout"] });
        try {
            const came = new Promise((done) => waiting.push(done));
            let onShare = () => {};
            const half = new Promise((done) => (onShare = done));
            const found = download(base + path, onShare);
            const refused = assert.rejects(found, new RegExp(`${path}: nothing came for 60 seconds; try again`));
            await came;
            if (path === "/half") await half;
            mock.timers.tick(STALL_LIMIT);
            await refused;
        } finally {
            mock.timers.reset();
        }
    });
}
