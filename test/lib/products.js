// The made-up products that the feed generator and the Xorosoft double share: product number `i` of a seed is the same product in
// both, so that a feed of n products can be validated against an ERP that knows a share of them.  No dependencies, no clock, no
// Math.random(): the same seed gives the same bytes on every machine.
'use strict';

const BRANDS = ['Avery', 'Fellowes', 'Smead', 'Pentel', 'Bostitch', 'Quartet', 'Safco', 'Kensington', 'Pendaflex', 'Swingline', 'Wilson Jones',
	'Esselte', 'Cardinal', 'Rubbermaid', 'Tripp Lite', 'Verbatim', 'Brother', 'Dymo', 'Elmer\'s', 'Sharpie', 'Zebra Pen', 'Acme United',
	'C-Line', 'Business Source', 'Ticonderoga', 'Prang', 'Crayola', 'Scotch', 'Post-it', 'Command'];
const NOUNS = [['Binder', 'Binders'], ['Stapler', 'Staplers'], ['File Folder', 'Filing'], ['Gel Pen', 'Writing'], ['Label', 'Labels'],
	['Desk Organizer', 'Desk Accessories'], ['Monitor Arm', 'Ergonomics'], ['Chair Mat', 'Furniture'], ['Whiteboard', 'Boards'],
	['Marker', 'Writing'], ['Paper Shredder', 'Machines'], ['Toner Cartridge', 'Printer Supplies'], ['Envelope', 'Mailing'],
	['Clipboard', 'Desk Accessories'], ['Notebook', 'Paper'], ['Copy Paper', 'Paper'], ['Tape Dispenser', 'Desk Accessories'],
	['Laminator', 'Machines'], ['Surge Protector', 'Power'], ['Calculator', 'Machines']];
const ADJECTIVES = ['Heavy-Duty', 'Recycled', 'Premium', 'Compact', 'Professional', 'Economy', 'Deluxe', 'Non-Stick', 'Antimicrobial',
	'Adjustable', 'Legal Size', 'Letter Size', 'Extra Capacity', 'Quick-Open', 'Clear View', 'Low Odor'];
const COLORS = ['Black', 'White', 'Blue', 'Red', 'Green', 'Assorted', 'Gray', 'Clear', 'Yellow', 'Navy'];
const PACKS = ['Each', '12/Pack', '24/Box', '100/Box', '5/Pack', '500/Ream'];
const SENTENCES = ['Keeps papers flat, dry and in order.', 'Made from 30% post-consumer material.', 'Fits standard 8-1/2" x 11" sheets.',
	'Backed by the manufacturer\'s lifetime warranty.', 'Smooth action, even after thousands of uses.',
	'Ideal for offices, schools and homes.', 'Acid-free and archival safe; PVC-free.', 'Assembles without tools in minutes.'];

// A number in [0, 2^32) that depends on seed, product and purpose alone (murmur3's finalizer).
function mix(seed, i, salt) {
	let h = Math.imul(seed | 0, 0x9e3779b1) ^ Math.imul(i | 0, 0x85ebca6b) ^ Math.imul(salt | 0, 0xc2b2ae35);
	h ^= h >>> 16;
	h = Math.imul(h, 0x85ebca6b);
	h ^= h >>> 13;
	h = Math.imul(h, 0xc2b2ae35);
	return (h ^ (h >>> 16)) >>> 0;
}

const share = (seed, i, salt) => mix(seed, i, salt) / 4294967296;
const pick = (list, seed, i, salt) => list[mix(seed, i, salt) % list.length];

// The check digit of GS1 for the digits before it.
function withCheckDigit(digits) {
	let sum = 0;
	for (let k = digits.length - 1, weight = 3; k >= 0; k--, weight = 4 - weight)
		sum += (digits.charCodeAt(k) - 48) * weight;
	return digits + ((10 - sum % 10) % 10);
}

const sku = (i) => 'CWS-' + String(100000 + i);

// Product `i`, from 1.  `generation` counts the changed feeds after the first: a share `change` of the products has another price or
// title in each.
function product(seed, i, generation = 0, change = 0) {
	const [noun, type] = pick(NOUNS, seed, i, 1);
	const brand = pick(BRANDS, seed, i, 2);
	const color = pick(COLORS, seed, i, 3);
	const number = String(1000 + i);
	const mpn = brand.slice(0, 3).toUpperCase().replace(/[^A-Z]/g, 'X') + '-' + (10000 + mix(seed, i, 4) % 90000) + '-' + number;
	const size = (1 + mix(seed, i, 5) % 30) + (i % 7 === 0 ? '"' : ' in.');
	let title = `${brand} ${pick(ADJECTIVES, seed, i, 6)} ${noun}, ${size}, ${color}, ${pick(PACKS, seed, i, 7)}, ${mpn}`;
	let cents = 99 + mix(seed, i, 8) % 49900;
	for (let g = 1; g <= generation; g++) {
		const dice = share(seed, i, 100 + g);
		if (dice < change) {
			if (dice < change * 0.8)
				cents = Math.max(1, Math.round(cents * (0.9 + 0.2 * share(seed, i, 200 + g))) + 1);
			else
				title = title.replace(/( \(rev\. \d+\))?$/, ` (rev. ${g})`);
		}
	}
	return {
		i, title, brand, type, color, mpn, cents,
		sku: sku(i),
		handle: (brand + '-' + noun + '-' + number).toLowerCase().replace(/[^a-z0-9]+/g, '-'),
		gtin: withCheckDigit('7' + String(i).padStart(10, '0')),
		grams: 10 + mix(seed, i, 9) % 20000,
		sentence: (salt) => pick(SENTENCES, seed, i, salt),
		dice: (salt) => share(seed, i, salt),
	};
}

// A share of the products has three variants; the first has the product's own SKU.
const hasVariants = (seed, i, variants) => variants > 0 && share(seed, i, 12) < variants;
const variantSku = (sku, v) => (v === 0 ? sku : `${sku}-${v + 1}`);

// Whether an ERP that knows `known` (0 to 1) of the products knows this one.
const isKnown = (seed, i, known) => share(seed, i, 11) < known;

module.exports = { product, sku, isKnown, hasVariants, variantSku, mix, share, withCheckDigit };
