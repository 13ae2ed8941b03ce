#!/usr/bin/env node
// A TCP proxy on loopback that breaks connections in the ways that networks do.
//
//   proxy.js --target HOST:PORT [--ftp true] [--option value ...]
//
// Prints {"port":N,"control":M}: N is the proxy, M an HTTP port with
//   POST /_control   JSON object of the options below;  GET /_effects   what went through and what was broken;  POST /_reset
// With --ftp the replies to PASV and EPSV are rewritten, so that data connections pass through this proxy too (plain FTP only: under
// TLS the replies cannot be read).  Faults count for connections of `scope`: all, control (FTP's command connection, or any
// connection without --ftp) or data.  `times` limits how many connections a fault breaks; after that it heals.
'use strict';

const http = require('http');
const net = require('net');

const options = {
	target: '', ftp: false, port: 0, control: 0,
	scope: 'all',
	times: -1,                 // connections to break; -1: all
	latency_ms: 0,             // before each piece from the server is passed on
	bytes_per_second: 0,       // from the server, per connection; 0: as fast as it goes
	stall_after: -1,           // bytes from the server after which nothing more comes
	cut_after: -1,             // bytes after which the connection ends as if all had been sent
	reset_after: -1,           // bytes after which it ends with a reset
	drop_answer: false,        // the server does its work, and its answer is thrown away with the connection
	garbage: false,            // the answer is replaced by bytes that mean nothing
	refuse: false,             // nobody listens
};
const FAULTS = ['stall_after', 'cut_after', 'reset_after', 'drop_answer', 'garbage'];

for (let k = 2; k < process.argv.length; k += 2)
	setOption(process.argv[k].replace(/^--/, '').replace(/-/g, '_'), process.argv[k + 1]);

function setOption(name, value) {
	if (!(name in options) || value === undefined) {
		const error = new Error(`unknown option or no value: ${name}`);
		if (server === undefined) {
			console.error(`proxy.js: ${error.message}`);
			process.exit(2);
		}
		throw error;
	}
	options[name] = typeof value === 'string' && typeof options[name] !== 'string' ? JSON.parse(value) : value;
}

var server;
let effects;
const open = new Set();

function reset() {
	effects = { connections: 0, data_connections: 0, up: 0, down: 0, broken: 0 };
}

// The fault that this new connection gets: a copy of the options, or none.
function faultFor(kind) {
	const wanted = options.scope === 'all' || options.scope === kind;
	if (!wanted || options.times === 0)
		return { latency_ms: 0, bytes_per_second: 0 };
	return { ...options };
}

// Counts a connection that a fault broke, once; false where others have used up `times` in the meantime.
function breaks(fault) {
	if (fault.counted)
		return true;
	if (options.times === 0)
		return false;
	if (options.times > 0)
		options.times--;
	fault.counted = true;
	effects.broken++;
	return true;
}

// Passes `client` on to host:port until a fault or either end ends it.  `rewrite` may change what the server says.
function pass(client, host, port, kind, rewrite) {
	const upstream = net.connect({ host, port });
	const fault = faultFor(kind);
	const ends = [client, upstream];
	let sent = 0, stalled = false;

	effects[kind === 'data' ? 'data_connections' : 'connections']++;
	for (const end of ends) {
		open.add(end);
		end.setNoDelay(true);
		end.on('close', () => {
			open.delete(end);
			const other = ends[1 - ends.indexOf(end)];
			if (!stalled)
				setTimeout(() => other.destroy(), 100);
		});
	}
	client.on('error', () => upstream.destroy());
	upstream.on('error', () => client.destroy());
	client.on('data', (piece) => {
		effects.up += piece.length;
		upstream.write(piece);
	});
	client.on('end', () => upstream.end());
	upstream.on('end', () => { if (!stalled) queue(null); });

	// What the server sends, in order, each piece as late as latency and bandwidth say.
	let chain = Promise.resolve();
	function queue(piece) {
		chain = chain.then(() => deliver(piece)).catch(() => client.destroy());
	}
	async function deliver(piece) {
		if (piece === null) {
			client.end();
			return;
		}
		if (stalled || client.destroyed)
			return;
		if (fault.latency_ms)
			await sleep(fault.latency_ms);
		if (fault.bytes_per_second)
			await sleep(piece.length / fault.bytes_per_second * 1000);
		if (fault.drop_answer && breaks(fault)) {
			upstream.destroy();
			client.destroy();
			return;
		}
		if (fault.garbage && breaks(fault)) {
			client.end(Buffer.alloc(Math.max(64, piece.length), 0xa5));
			upstream.destroy();
			return;
		}
		for (const name of ['stall_after', 'cut_after', 'reset_after']) {
			if (!(fault[name] >= 0) || sent + piece.length <= fault[name] || !breaks(fault))
				continue;
			await write(piece.subarray(0, fault[name] - sent));
			if (name === 'stall_after') {
				stalled = true;
				upstream.pause();
			} else if (name === 'cut_after') {
				client.end();
				upstream.destroy();
			} else {
				await sleep(100);    // a reset throws away what the client has not read yet
				client.resetAndDestroy ? client.resetAndDestroy() : client.destroy();
				upstream.destroy();
			}
			return;
		}
		sent += piece.length;
		await write(piece);
	}
	const write = (piece) => new Promise((resolve) => {
		effects.down += piece.length;
		if (piece.length === 0 || client.destroyed || client.write(piece))
			return resolve();
		client.once('drain', resolve);
		client.once('close', resolve);
	});

	// Bandwidth is kept by small pieces, and a slow client slows the server.
	upstream.on('data', (piece) => {
		const most = fault.bytes_per_second ? Math.max(256, fault.bytes_per_second / 20) : 65536;
		if (rewrite)
			chain = chain.then(() => rewrite(piece)).then(deliver).catch(() => client.destroy());
		else
			for (let at = 0; at < piece.length; at += most)
				queue(piece.subarray(at, at + most));
		upstream.pause();
		chain.then(() => { if (!stalled) upstream.resume(); });
	});
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Rewrites 227 and 229 replies to a new listening port of ours, which passes one connection on to the server's data port.
function ftpRewriter(host) {
	return async (piece) => {
		const text = piece.toString('latin1');
		const passive = /^227 .*?\((\d+),(\d+),(\d+),(\d+),(\d+),(\d+)\)/m.exec(text);
		const extended = /^229 .*?\(\|\|\|(\d+)\|\)/m.exec(text);
		if (!passive && !extended)
			return piece;
		const dataPort = extended ? +extended[1] : +passive[5] * 256 + +passive[6];
		const listener = net.createServer((client) => {
			listener.close();
			pass(client, host, dataPort, 'data');
		});
		await new Promise((resolve, reject) => listener.once('error', reject).listen(0, '127.0.0.1', resolve));
		const port = listener.address().port;
		setTimeout(() => listener.close(), 30000).unref();
		return Buffer.from(extended
			? text.replace(/\(\|\|\|\d+\|\)/, `(|||${port}|)`)
			: text.replace(/\(\d+,\d+,\d+,\d+,\d+,\d+\)/, `(127,0,0,1,${port >> 8},${port & 255})`), 'latin1');
	};
}

function control(request, response) {
	const chunks = [];
	request.on('data', (chunk) => chunks.push(chunk));
	request.on('end', () => {
		let status = 200, body = {};
		try {
			if (request.url === '/_effects')
				body = { ...effects, open: open.size };
			else if (request.url === '/_reset')
				reset();
			else if (request.url === '/_cut') {
				body = { cut: open.size };
				for (const end of open)
					end.destroy();
			} else if (request.url === '/_control') {
				for (const [name, value] of Object.entries(JSON.parse(Buffer.concat(chunks).toString())))
					setOption(name, value);
				if (options.refuse)
					server.close();
				else if (!server.listening)
					server.listen(options.port, '127.0.0.1');
				body = options;
			} else
				throw new Error(`unknown: ${request.url}`);
		} catch (error) {
			status = 400;
			body = { error: error.message };
		}
		response.writeHead(status, { 'Content-Type': 'application/json' });
		response.end(JSON.stringify(body));
	});
}

const [host, port] = [options.target.replace(/:\d+$/, ''), +options.target.replace(/.*:/, '')];
if (!host || !port) {
	console.error('proxy.js: --target HOST:PORT is missing');
	process.exit(2);
}
reset();
server = net.createServer({ allowHalfOpen: true }, (client) => pass(client, host, port, 'control', options.ftp ? ftpRewriter(host) : null));
server.listen(options.port, '127.0.0.1', 1024, () => {
	options.port = server.address().port;
	const controller = http.createServer(control);
	controller.listen(options.control, '127.0.0.1', () =>
		console.log(JSON.stringify({ port: options.port, control: controller.address().port })));
});
