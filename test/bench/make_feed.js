#!/usr/bin/env node
// Makes feeds in the shape of the supplier's: one wide CSV with the columns of a Shopify export, image rows after their product,
// HTML with commas, quotes and line ends in it, and metafield columns that are mostly empty.  The same options give the same bytes.
//
//   make_feed.js --out FILE(.csv|.zip) [--option value ...]          made-up products (test/lib/products.js)
//   make_feed.js --from FOLDER --out FILE [--catalogue FILE.sql] [--erp FILE.ndjson] [--known SHARE]
//       the labelled product pairs of FOLDER: tableB.csv becomes the feed, tableA.csv the SQL that loads an existing catalogue, and
//       a share of the feed's products the items of an ERP (for the Xorosoft double)
//
// catalogue and existing also go with made-up products: SQL that loads the first `existing` of them as a shop has them, under SKUs of
// its own; a third with barcodes, a third with brand and part number, a third with a title in other words and neither.
//
// Options: products, seed, images (rows beside the first, on average), variants (share of products with three of them), generation
// (0, then 1, 2 ... changed feeds) and change (share of the products that each changes), rows (stops at about so many instead of at
// products), broken (records that are), manifest (file: line, kind of each broken one, tab between), member (name in the zip),
// bom, crlf (true/false).
// A broken record is its product's only row and has one of the kinds quote (quotes not doubled), unclosed (a quote without its
// second), utf8 (bytes that are none), short (columns missing), number (a price that is none).
'use strict';

const fs = require('fs');
const path = require('path');
const { spawnSync } = require('child_process');
const products = require('../lib/products.js');

const options = {
	out: '', from: '', catalogue: '', existing: 0, erp: '', known: 0.8, products: 1000, rows: 0, seed: 1, images: 1, variants: 0, generation: 0, change: 0.1,
	broken: 0, manifest: '', member: 'CWS_Etilize_shopify.csv', bom: true, crlf: false,
};
for (let k = 2; k < process.argv.length; k += 2) {
	const name = process.argv[k].replace(/^--/, '');
	if (!(name in options) || k + 1 >= process.argv.length) {
		console.error(`make_feed.js: unknown option or no value: ${process.argv[k]}`);
		process.exit(2);
	}
	options[name] = typeof options[name] === 'string' ? process.argv[k + 1] : JSON.parse(process.argv[k + 1]);
}
if (!options.out) {
	console.error('make_feed.js: --out FILE is missing');
	process.exit(2);
}

const METAFIELDS = ['CWS_A', 'CWS_Catalog', 'SPRC', 'brand_name', 'color_family', 'country_of_origin', 'depth', 'height', 'width', 'green_indicator',
	'lead_time', 'material', 'pack_quantity', 'recycled_content', 'sheet_size', 'tab_cut', 'unspsc', 'warranty', 'assembly_required', 'closure'];
const HEADER = ['Title', 'URL handle', 'Description', 'Vendor', 'Type', 'Tags', 'Published', 'Status', 'SKU', 'Barcode', 'Option1 name',
	'Option1 value', 'Price', 'Charge tax', 'Continue selling when out of stock', 'Weight value (grams)', 'Weight unit for display',
	'Requires shipping', 'Fulfillment service', 'Product image URL', 'Image position', 'Image alt text', 'Gift card', 'SEO title',
	'SEO description', 'Google Shopping / Google product category', 'Google Shopping / MPN', 'Google Shopping / Condition',
	'Google Shopping / Custom label 0', ...METAFIELDS.map((name) => `Metafield: custom.${name}[list.single_line_text]`)];
const COLUMN = Object.fromEntries(HEADER.map((name, k) => [name, k]));
const EOL = options.crlf ? '\r\n' : '\n';

// ---- CSV -----------------------------------------------------------------------------------------------------------------------

const SPECIAL = /[",\r\n]/;
const quote = (text) => '"' + text.replace(/"/g, '""') + '"';
const cell = (text) => (SPECIAL.test(text) ? quote(text) : text);

// Writes text to a file in pieces large enough to be quick, and counts lines.
class Output {
	constructor(file) {
		this.fd = fs.openSync(file, 'w');
		this.pieces = [];
		this.size = 0;
		this.line = 1;
	}
	write(text, lines) {
		this.pieces.push(text);
		this.size += text.length;
		this.line += lines;
		if (this.size > 4 << 20)
			this.flush();
	}
	flush() {
		fs.writeSync(this.fd, Buffer.from(this.pieces.join(''), 'utf8'));
		this.pieces = [];
		this.size = 0;
	}
	raw(bytes, lines) {
		this.flush();
		fs.writeSync(this.fd, bytes);
		this.line += lines;
	}
	close() {
		this.flush();
		fs.closeSync(this.fd);
	}
}

const linesIn = (text) => {
	let n = 0;
	for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1))
		n++;
	return n;
};

// ---- records -------------------------------------------------------------------------------------------------------------------

const description = (p) =>
	`<div class="desc"><p>${p.title.replace(/&/g, '&amp;')}</p>\n<ul><li>${p.sentence(31)}</li><li>${p.sentence(32)}</li>` +
	`<li>Color: ${p.color}; by "${p.brand}", since 1963</li></ul>\n<p>${p.sentence(33)} ${p.sentence(34)}</p></div>`;

// The cells of a product's first row.
function productCells(p) {
	const c = new Array(HEADER.length).fill('');
	c[COLUMN['Title']] = p.title;
	c[COLUMN['URL handle']] = p.handle;
	c[COLUMN['Description']] = p.description ?? description(p);
	c[COLUMN['Vendor']] = p.brand;
	c[COLUMN['Type']] = p.type;
	c[COLUMN['Tags']] = `${p.type}, ${p.color}${p.i % 9 ? '' : ', New'}`;
	c[COLUMN['Published']] = 'TRUE';
	c[COLUMN['Status']] = 'active';
	c[COLUMN['SKU']] = p.sku;
	c[COLUMN['Barcode']] = p.gtin;
	c[COLUMN['Price']] = (p.cents / 100).toFixed(2);
	c[COLUMN['Charge tax']] = 'TRUE';
	c[COLUMN['Continue selling when out of stock']] = 'deny';
	c[COLUMN['Weight value (grams)']] = String(p.grams);
	c[COLUMN['Weight unit for display']] = 'g';
	c[COLUMN['Requires shipping']] = 'TRUE';
	c[COLUMN['Fulfillment service']] = 'manual';
	c[COLUMN['Product image URL']] = `https://content.etilize.com/Large/${1000000 + p.i}.jpg`;
	c[COLUMN['Image position']] = '1';
	c[COLUMN['Image alt text']] = p.title;
	c[COLUMN['Gift card']] = 'FALSE';
	c[COLUMN['SEO title']] = p.title.slice(0, 70);
	c[COLUMN['Google Shopping / MPN']] = p.mpn;
	c[COLUMN['Google Shopping / Condition']] = 'New';
	const first = COLUMN[`Metafield: custom.${METAFIELDS[0]}[list.single_line_text]`];
	c[first] = p.sku.replace('CWS-', '');
	if (p.dice(41) < 0.3)
		c[first + 2] = 'SPR' + p.mpn.slice(-5);
	for (let k = 3; k < METAFIELDS.length; k++)
		if (p.dice(50 + k) < 0.1)
			c[first + k] = `${METAFIELDS[k].replace(/_/g, ' ')} ${p.i % 17}`;
	return c;
}

function imageRow(p, position) {
	const c = new Array(HEADER.length).fill('');
	c[COLUMN['URL handle']] = p.handle;
	c[COLUMN['Product image URL']] = `https://content.etilize.com/Large/${1000000 + p.i}_${position}.jpg`;
	c[COLUMN['Image position']] = String(position);
	c[COLUMN['Image alt text']] = `${p.brand} view ${position}`;
	return c;
}

function variantRow(p, v) {
	const c = new Array(HEADER.length).fill('');
	c[COLUMN['URL handle']] = p.handle;
	c[COLUMN['SKU']] = products.variantSku(p.sku, v);
	c[COLUMN['Option1 value']] = ['Small', 'Medium', 'Large'][v];
	c[COLUMN['Price']] = ((p.cents + 100 * v) / 100).toFixed(2);
	c[COLUMN['Weight value (grams)']] = String(p.grams + 10 * v);
	return c;
}

const KINDS = ['quote', 'unclosed', 'utf8', 'short', 'number'];

// The bytes of a record that is broken in the way of `kind`.
function brokenRecord(p, kind) {
	const c = productCells(p);
	c[COLUMN['Description']] = `<p>${p.sentence(33)}</p>`;
	let cells = c.map(cell);
	switch (kind) {
		case 'quote':
			cells[COLUMN['Title']] = `"${p.brand} "Super" ${p.type}, ${p.mpn}"`;
			break;
		case 'unclosed':
			cells[COLUMN['Title']] = `"${p.brand} ${p.type} ${p.mpn}`;
			break;
		case 'utf8':
			cells[COLUMN['Vendor']] = 'Caf\u0001\u0002';
			break;
		case 'short':
			cells = cells.slice(0, COLUMN['SKU'] + 2);
			break;
		case 'number':
			cells[COLUMN['Price']] = 'call us';
			break;
	}
	// \x01\x02 stand for two bytes that are no UTF-8: an unfinished sequence.
	const bytes = Buffer.from(cells.join(',') + EOL, 'utf8');
	if (kind === 'utf8') {
		const at = bytes.indexOf(Buffer.from([1, 2]));
		bytes[at] = 0xc3;
		bytes[at + 1] = 0x28;
	}
	return bytes;
}

// ---- the made-up feed ----------------------------------------------------------------------------------------------------------

function writeMadeUp(out) {
	const manifest = [];
	const step = options.broken ? options.products / options.broken : 0;
	let rows = 0, broken = 0;

	for (let i = 1; options.rows ? rows < options.rows : i <= options.products; i++) {
		const p = products.product(options.seed, i, options.generation, options.change);
		if (options.broken && broken < options.broken && i > (broken + 0.5) * step) {
			const kind = KINDS[broken++ % KINDS.length];
			manifest.push(`${out.line}\t${kind}\t${p.sku}`);
			out.raw(brokenRecord(p, kind), 1);
			rows++;
			continue;
		}
		const c = productCells(p);
		const many = products.hasVariants(options.seed, i, options.variants);
		if (many) {
			c[COLUMN['Option1 name']] = 'Size';
			c[COLUMN['Option1 value']] = 'Small';
		}
		let text = c.map(cell).join(',') + EOL;
		rows++;
		if (many)
			for (let v = 1; v < 3; v++, rows++)
				text += variantRow(p, v).map(cell).join(',') + EOL;
		const images = Math.floor(options.images * 2 * p.dice(60) + 0.5);
		for (let k = 0; k < images; k++, rows++)
			text += imageRow(p, k + 2).map(cell).join(',') + EOL;
		out.write(text, linesIn(text));
	}
	if (options.manifest)
		fs.writeFileSync(options.manifest, manifest.map((line) => line + '\n').join(''));
	return rows;
}

// ---- the labelled pairs --------------------------------------------------------------------------------------------------------

function parseCsv(text) {
	const rows = [];
	let row = [], at = 0;
	while (at < text.length) {
		let value;
		if (text[at] === '"') {
			let end = at + 1;
			for (;;) {
				end = text.indexOf('"', end);
				if (text[end + 1] !== '"')
					break;
				end += 2;
			}
			value = text.slice(at + 1, end).replace(/""/g, '"');
			at = end + 1;
		} else {
			let end = at;
			while (end < text.length && text[end] !== ',' && text[end] !== '\n')
				end++;
			value = text.slice(at, end).replace(/\r$/, '');
			at = end;
		}
		row.push(value);
		if (text[at] === '\r')
			at++;
		if (text[at] !== ',') {
			rows.push(row);
			row = [];
		}
		at++;
	}
	const [header, ...rest] = rows;
	return rest.map((r) => Object.fromEntries(header.map((name, k) => [name, r[k] ?? ''])));
}

const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '').slice(0, 80);
const literal = (text) => (text === '' ? 'NULL' : "'" + text.replace(/'/g, "''") + "'");
const price = (text) => (/^\d+(\.\d+)?$/.test(text) ? Number(text).toFixed(2) : '');

function writeLabelled(out) {
	const incoming = parseCsv(fs.readFileSync(path.join(options.from, 'tableB.csv'), 'utf8'));
	const known = [];

	for (const row of incoming) {
		const c = new Array(HEADER.length).fill('');
		const sku = `ETZ-${row.id}`;
		c[COLUMN['Title']] = row.title || `Item ${row.id}`;
		c[COLUMN['URL handle']] = `${slug(row.title)}-${row.id}`;
		c[COLUMN['Description']] = row.description || '';
		c[COLUMN['Vendor']] = row.brand || row.manufacturer || 'unknown';
		c[COLUMN['Type']] = row.category || 'product';
		c[COLUMN['Published']] = 'TRUE';
		c[COLUMN['Status']] = 'active';
		c[COLUMN['SKU']] = sku;
		c[COLUMN['Price']] = price(row.price || '');
		c[COLUMN['Google Shopping / MPN']] = row.modelno || '';
		const text = c.map(cell).join(',') + EOL;
		out.write(text, linesIn(text));
		if (products.isKnown(options.seed, Number(row.id) + 1, options.known))
			known.push(JSON.stringify({
				ItemNumber: sku, Title: row.title, BrandName: row.brand || null, VendorPartNumber: row.modelno || '',
				StandardUnitPrice: Number(price(row.price || '') || 0), ActiveFlag: true, IsSellableFlag: true,
			}));
	}
	if (options.erp)
		fs.writeFileSync(options.erp, known.join('\n') + '\n');
	if (options.catalogue)
		writeCatalogue(parseCsv(fs.readFileSync(path.join(options.from, 'tableA.csv'), 'utf8')));
	return incoming.length;
}

// SQL that puts the existing products in place: ids are those of the file plus one, SKUs CAT-<id of the file>.
function writeCatalogue(rows) {
	const products = rows.map((r) => `(${Number(r.id) + 1}, ${literal(`${slug(r.title)}-${r.id}`)}, ${literal(r.title || `Item ${r.id}`)}, ` +
		`${literal(r.description || '')}, ${literal(r.brand || '')}, ${literal(r.category || '')}, 'active')`);
	const variants = rows.map((r) => `(${Number(r.id) + 1}, ${literal(`CAT-${r.id}`)}, ${literal(r.modelno || '')}, ${price(r.price || '') || 'NULL'})`);
	fs.writeFileSync(options.catalogue,
		`BEGIN;\nINSERT INTO sync.product (id, handle, title, description, vendor, type, status) VALUES\n${products.join(',\n')};\n` +
		`SELECT setval(pg_get_serial_sequence('sync.product', 'id'), ${Math.max(...rows.map((r) => Number(r.id) + 1))});\n` +
		`INSERT INTO sync.variant (product_id, sku, mpn, price) VALUES\n${variants.join(',\n')};\nCOMMIT;\nANALYZE sync.product, sync.variant;\n`);
}

// The same for made-up products.
function writeShop() {
	const rows = [], variants = [];
	for (let i = 1; i <= options.existing; i++) {
		const p = products.product(options.seed, i);
		const cents = p.dice(71) < 0.5 ? p.cents : p.cents + 150;
		const words = p.title.split(', ');
		const title = i % 3 ? p.title : [...words.slice(0, -1).reverse(), `by ${p.brand}`].join(' - ');
		rows.push(`(${i}, ${literal(`shop-${p.handle}`)}, ${literal(title)}, ${literal(p.brand)}, ${literal(p.type)}, 'active')`);
		variants.push(`(${i}, ${literal(`SHOP-${1000 + i}`)}, ${literal(i % 3 === 1 ? p.gtin : '')}, ${literal(i % 3 === 1 ? p.gtin.padStart(14, '0') : '')}, ` +
			`${literal(i % 3 === 2 ? p.mpn : '')}, ${(cents / 100).toFixed(2)})`);
	}
	fs.writeFileSync(options.catalogue,
		`BEGIN;\nINSERT INTO sync.product (id, handle, title, vendor, type, status) VALUES\n${rows.join(',\n')};\n` +
		`SELECT setval(pg_get_serial_sequence('sync.product', 'id'), ${options.existing});\n` +
		`INSERT INTO sync.variant (product_id, sku, barcode, gtin, mpn, price) VALUES\n${variants.join(',\n')};\nCOMMIT;\n` +
		'ANALYZE sync.product, sync.variant;\n');
}

// ---- out -----------------------------------------------------------------------------------------------------------------------

const zipped = options.out.endsWith('.zip');
const folder = zipped ? fs.mkdtempSync(options.out + '-') : '';
const csv = zipped ? path.join(folder, options.member) : options.out;
const out = new Output(csv);
out.write((options.bom ? '\ufeff' : '') + HEADER.map(cell).join(',') + EOL, 1);
const rows = options.from ? writeLabelled(out) : writeMadeUp(out);
out.close();
if (options.catalogue && !options.from)
	writeShop();
const bytes = fs.statSync(csv).size;
if (zipped) {
	fs.rmSync(options.out, { force: true });
	const zip = spawnSync('zip', ['-1', '-q', '-X', '-j', path.resolve(options.out), csv], { stdio: 'inherit' });
	fs.rmSync(folder, { recursive: true });
	if (zip.status !== 0)
		process.exit(1);
}
console.log(JSON.stringify({ rows, bytes, out: options.out }));
