// The shop's state: products with their variants (a variant and its inventory item are one object here), stock levels, locations,
// media, metafields; what was deleted; and the record of every effect.  Everything that changes the shop goes through change(), which
// moves `updated`, feeds the search index, and tells who did it.
//
// Times are microseconds since 1970 and strictly increase from change to change while updatedAt is shown in whole seconds, as in
// Shopify's cursors and fields.  The clock can be set (options.clock) or moved on, so that no test sleeps.
'use strict';

const crypto = require('crypto');
const products = require('../../lib/products.js');

const FIRST = Date.UTC(2025, 0, 1) * 1000;       // when the seeded shop was made
const QUANTITIES = ['available', 'committed', 'damaged', 'incoming', 'on_hand', 'quality_control', 'reserved', 'safety_stock'];
const ON_HAND = ['available', 'committed', 'damaged', 'quality_control', 'reserved', 'safety_stock'];

const gid = (type, id) => `gid://shopify/${type}/${id}`;
const isoTime = (us) => new Date(Math.floor(us / 1e6) * 1000).toISOString().replace('.000Z', 'Z');
const numberOf = (id, type) => {
	const m = /^gid:\/\/shopify\/([A-Za-z]+)\/(\d+)(?:\?.*)?$/.exec(String(id));
	return m && (!type || m[1] === type) ? Number(m[2]) : NaN;
};

// Who makes an effect, where a mutation does: this app, by which request, mutation and key, or line of which bulk operation.
const by = ({ request, mutation, bulkOperation, line }) => ({ app: 'product_sync', request, ...mutation, bulkOperation, line });

// 12.5 -> "12.50"; as many decimals as written where there are more than two.
function money(value) {
	if (value === null || value === undefined || value === '')
		return null;
	const number = Number(value);
	return Number.isFinite(number) ? number.toFixed(2) : null;
}

// Words of a title in a URL.
const slug = (text) => String(text).toLowerCase().normalize('NFKD').replace(/[\u0300-\u036f]/g, '').replace(/[^a-z0-9]+/g,
	'-').replace(/^-+|-+$/g, '');

// What Shopify does to HTML that is written: scripts and handlers go, void tags lose their slash, names become small letters.
function sanitise(html) {
	return String(html ?? '')
		.replace(/<(script|style|iframe)\b[^>]*>[\s\S]*?<\/\1\s*>/gi, '')
		.replace(/<!--[\s\S]*?-->/g, '')
		.replace(/<(\/?)([a-zA-Z][a-zA-Z0-9]*)((?:"[^"]*"|'[^']*'|[^>"'])*)>/g, (tag, close, name, rest) => '<' + close + name.toLowerCase()
			+ rest.replace(/\s*\/\s*$/, '').replace(/\son[a-z]+\s*=\s*("[^"]*"|'[^']*'|[^\s>]+)/gi, '').replace(/='([^'"]*)'/g,
				'="$1"') + '>')
		.trim();
}

const tagList = (tags) => {
	const seen = new Map();
	for (const tag of tags || [])
		for (const part of String(tag).split(','))
			if (part.trim() && !seen.has(part.trim().toLowerCase()))
				seen.set(part.trim().toLowerCase(), part.trim());
	return [...seen.values()].sort((a, b) => (a.toLowerCase() < b.toLowerCase() ? -1 : 1));
};

class Store {
	constructor(options) {
		this.options = options;
		this.listeners = [];        // called with each effect
		this.reset();
	}

	reset() {
		this.products = new Map();  // number -> product
		this.variants = new Map();
		this.items = new Map();     // inventory item number -> variant
		this.handles = new Map();
		this.files = new Map();     // media that were uploaded, in a product or not
		this.locations = new Map();
		this.publications = [{ id: 880000001, name: 'Online Store' }, { id: 880000002, name: 'Point of Sale' }];
		this.events = [];
		this.last = FIRST;
		this.next = { Product: 7000000000001, ProductVariant: 41000000000001, InventoryItem: 43000000000001, Location: 60000000001,
			ProductOption: 9000000000001, ProductOptionValue: 5000000000001, MediaImage: 33000000000001, Metafield: 25000000000001,
				Event: 90000000000001,
			InventoryAdjustmentGroup: 1, WebhookSubscription: 1100000000001, BulkOperation: 4300000000001 };
		this.version = 0;           // one more with each change: caches know by it that they are old
		this.sortedLists = new Map();
		this.pending = [];          // changes that the search index has not seen yet
		this.effects = [];
		this.effectCounts = {};
		this.effectNumber = 0;
		for (const name of this.options.locations)
			this.addLocation(typeof name === 'string' ? { name } : name);
	}

	newId(type) { return this.next[type]++; }

	// ---- time ------------------------------------------------------------------------------------------------------------------

	now() {
		const o = this.options;
		return (o.clock ? Date.parse(o.clock) : Date.now() + o.clock_offset * 1000) * 1000;
	}

	isoNow() { return new Date(this.now() / 1000).toISOString(); }

	// The time of a change: later than that of every other.
	tick() {
		this.last = Math.max(this.now(), this.last + 1);
		return this.last;
	}

	// ---- finding ---------------------------------------------------------------------------------------------------------------

	product(id) { return this.products.get(typeof id === 'number' ? id : numberOf(id, 'Product')); }
	variant(id) { return this.variants.get(typeof id === 'number' ? id : numberOf(id, 'ProductVariant')); }
	item(id) { return this.items.get(typeof id === 'number' ? id : numberOf(id, 'InventoryItem')); }
	location(id) { return this.locations.get(typeof id === 'number' ? id : numberOf(id, 'Location')); }
	findVariant(sku) {
		for (const variant of this.variants.values())
			if (variant.sku === sku)
				return variant;
		return undefined;
	}

	// By a ProductIdentifierInput or one of its kin.
	findProduct({ id, handle, customId }) {
		if (id)
			return this.product(id);
		if (handle)
			return this.handles.get(handle);
		const same = (m) => m.key === customId.key && m.value === customId.value
			&& (!customId.namespace || m.namespace === customId.namespace);
		return [...this.products.values()].find((p) => p.metafields.some(same));
	}

	level(item, location) { return item.levels.find((l) => l.location === location); }

	// ---- making ----------------------------------------------------------------------------------------------------------------

	addLocation({ id, name, isActive = true }) {
		const location = { id: id ?? this.newId('Location'), name, isActive, created: FIRST, updated: FIRST };
		this.locations.set(location.id, location);
		return location;
	}

	handleFor(title, wanted, self) {
		let handle = slug(wanted || title) || 'product';
		const base = handle;
		for (let n = 1; this.handles.has(handle) && this.handles.get(handle) !== self; n++)
			handle = `${base}-${n}`;
		return handle;
	}

	// A product from the values of a seed or of a mutation, already checked.  It gets into the shop by put().
	makeProduct(v, at) {
		const id = v.id ?? this.newId('Product');
		const product = {
			id, title: v.title, handle: this.handleFor(v.title, v.handle), descriptionHtml: sanitise(v.descriptionHtml),
				vendor: v.vendor ?? this.options.shop_name,
			productType: v.productType ?? '', status: v.status ?? 'ACTIVE', tags: tagList(v.tags), templateSuffix: v.templateSuffix ?? null,
			seo: { title: v.seo?.title || null, description: v.seo?.description || null }, category: v.category ?? null,
			created: at, updated: at, published: at, options: [], variants: [], media: [], metafields: [],
				publications: [this.publications[0].id],
		};
		for (const file of v.images || [])
			this.addMedia(product, file);
		for (const m of v.metafields || [])
			this.setMetafield(product, m, at);
		this.setOptions(product, (v.options && v.options.length) ? v.options : [{ name: 'Title', values: ['Default Title'] }]);
		return product;
	}

	setOptions(product, options) {
		product.options = options.map((o, k) => ({
			id: o.id ?? this.newId('ProductOption'), name: typeof o === 'string' ? o : o.name, position: k + 1,
			values: (o.values || []).map((value) => this.makeValue(value)),
		}));
	}

	makeValue(value) { return { id: this.newId('ProductOptionValue'), name: String(value) }; }

	// The option's value of that name; made when it is new.
	optionValue(option, name) {
		let value = option.values.find((x) => x.name === name);
		if (!value)
			option.values.push(value = this.makeValue(name));
		return value;
	}

	makeVariant(product, v, at) {
		const variant = {
			id: v.id ?? this.newId('ProductVariant'), itemId: v.itemId ?? this.newId('InventoryItem'), product,
			sku: v.sku ?? null, barcode: v.barcode ?? null, price: money(v.price) ?? '0.00', compareAtPrice: money(v.compareAtPrice),
			cost: money(v.cost), weight: v.weight ?? { value: 0, unit: this.options.weight_unit }, tracked: v.tracked ?? true,
			requiresShipping: v.requiresShipping ?? true, country: v.country ?? null, harmonised: v.harmonised ?? null,
			inventoryPolicy: v.inventoryPolicy ?? 'DENY', taxable: v.taxable ?? true, position: product.variants.length + 1,
			values: product.options.map((o, k) => this.optionValue(o, (v.options && v.options[k]) ?? 'Default Title')),
			created: at, updated: at, itemUpdated: at, levels: [], metafields: [], mediaId: v.mediaId ?? null,
		};
		for (const m of v.metafields || [])
			this.setMetafield(variant, m, at);
		for (const [location, quantity] of Object.entries(v.stock || {}))
			this.addLevel(variant, this.locationNamed(location), Number(quantity), at);
		product.variants.push(variant);
		return variant;
	}

	// A location by its number, gid or name.
	locationNamed(text) {
		const found = this.locations.get(Number(text)) || this.location(text) || [...this.locations.values()].find((l) => l.name === text);
		if (!found)
			throw new Error(`no such location: ${text}`);
		return found;
	}

	addLevel(variant, location, available, at) {
		const level = { location, item: variant, available, committed: 0, incoming: 0, other: null, created: at, updated: at };
		variant.levels.push(level);
		return level;
	}

	quantity(level, name) {
		if (name === 'on_hand')
			return ON_HAND.reduce((sum, n) => sum + this.quantity(level, n), 0);
		return name in level ? level[name] : (level.other && level.other[name]) || 0;
	}

	setQuantity(level, name, value) {
		if (name === 'on_hand')
			level.available += value - this.quantity(level, 'on_hand');
		else if (['available', 'committed', 'incoming'].includes(name))
			level[name] = value;
		else
			level.other = { ...level.other, [name]: value };
	}

	// Shopify keeps a copy of each image on its own servers: what comes back is not the address that was given.
	addMedia(owner, file) {
		const id = this.newId('MediaImage');
		const source = typeof file === 'string' ? file : file.src ?? file.originalSource ?? '';
		const name = (source.split(/[?#]/)[0].split('/').pop() || `image-${id}`).replace(/[^A-Za-z0-9._-]/g, '_');
		const media = { __typename: 'MediaImage', id, owners: [], alt: (typeof file === 'object' && file.alt) || '', source,
			url: `https://cdn.shopify.com/s/files/1/0000/${String(this.options.shop_id).slice(-4)}/files/${name}?v=${id % 1000000000}` };
		const at = this.now();
		media.created = media.updated = at;
		media.ready = at + this.options.media_processing_ms * 1000;
		media.failed = this.options.media_fail_next > 0 && this.options.media_fail_next-- > 0;
		this.attach(owner, media);
		return media;
	}

	attach(product, media) {
		this.files.set(media.id, media);
		if (!product.media.includes(media))
			product.media.push(media);
		media.owners = [...media.owners.filter((p) => p !== product), product];
	}

	detach(product, media) {
		product.media = product.media.filter((m) => m !== media);
		media.owners = media.owners.filter((p) => p !== product);
	}

	mediaStatus(media) {
		const left = media.ready - this.now();
		return left > this.options.media_processing_ms * 500 ? 'UPLOADED' : left > 0 ? 'PROCESSING' : media.failed ? 'FAILED' : 'READY';
	}

	// Adds or changes a metafield; true where that changed something.
	setMetafield(owner, { namespace, key, type, value }, at) {
		const text = typeof value === 'string' ? value : JSON.stringify(value);
		const old = owner.metafields.find((m) => m.namespace === namespace && m.key === key);
		if (old && old.value === text && (!type || old.type === type))
			return false;
		const m = old || { id: this.newId('Metafield'), owner, namespace, key, created: at };
		Object.assign(m, { type: type || m.type || 'single_line_text_field', value: text, updated: at });
		if (!old)
			owner.metafields.push(m);
		return true;
	}

	digest(m) { return crypto.createHash('sha256').update(m.value).digest('hex'); }

	// ---- changing --------------------------------------------------------------------------------------------------------------

	// Sets target[name] and notes it under `path` when that changes it.
	set(target, name, value, fields, path = name) {
		const old = target[name];
		if (JSON.stringify(old ?? null) === JSON.stringify(value ?? null))
			return false;
		fields[path] = [old ?? null, value ?? null];
		target[name] = value;
		return true;
	}

	// A new product goes into the shop.
	put(product) {
		this.products.set(product.id, product);
		this.handles.set(product.handle, product);
		for (const variant of product.variants)
			this.putVariant(variant);
		this.version++;
	}

	putVariant(variant) {
		this.variants.set(variant.id, variant);
		this.items.set(variant.itemId, variant);
	}

	dropVariant(variant) {
		variant.product.variants = variant.product.variants.filter((v) => v !== variant);
		variant.product.variants.forEach((v, k) => { v.position = k + 1; });
		this.variants.delete(variant.id);
		this.items.delete(variant.itemId);
	}

	remove(product, by) {
		for (const variant of [...product.variants]) {
			this.variants.delete(variant.id);
			this.items.delete(variant.itemId);
		}
		this.products.delete(product.id);
		this.handles.delete(product.handle);
		this.version++;
		const at = this.tick();
		this.events.push({ __typename: 'BasicEvent', id: this.newId('Event'), action: 'destroy', subjectType: 'PRODUCT',
			subjectId: product.id,
			created: at, message: `${by.app || 'Merchant'} deleted product: ${product.title}.`, author: by.app || 'Merchant',
				app: !!by.app });
		this.effect('product.delete', by, product, { title: [product.title, null] }, at);
	}

	// Changes a product, or a part of it: `edit` does that and puts { path: [old, new] } of what it changed into its argument, and the
	// variants that it touched into the second; when nothing changed, nothing else happens.  `kind` is product.create, product.update
	// or inventory.  Returns whether anything changed.
	change(product, kind, by, edit) {
		const fields = {}, variants = new Set();
		const before = this.lagging() && product.indexed === undefined ? { ...product, variants: product.variants.map((v) => ({ ...v })) }
			: undefined;
		edit(fields, variants);
		if (kind !== 'product.create' && Object.keys(fields).length === 0)
			return false;
		const at = this.tick();
		this.index(product, kind === 'product.create' ? null : before, at);
		product.updated = at;
		for (const variant of variants) {
			variant.updated = at;
			if (kind === 'inventory' || Object.keys(fields).some((f) =>
				/cost|weight|sku|tracked|requiresShipping|country|harmonised/.test(f)))
				variant.itemUpdated = at;
		}
		this.version++;
		if (kind === 'product.create')
			this.events.push({ __typename: 'BasicEvent', id: this.newId('Event'), action: 'create', subjectType: 'PRODUCT',
				subjectId: product.id,
				created: at, message: `${by.app || 'Merchant'} added a new product: ${product.title}.`, author: by.app || 'Merchant',
					app: !!by.app });
		this.effect(kind, by, product, fields, at);
		return true;
	}

	// Records an effect: what happened to which product and variants, { path: [old, new] }, and who did it: the merchant (or an order),
	// or the app, then with the mutation, its key in the answer, the idempotency key, and the bulk operation and line.
	effect(kind, by, product, fields, at) {
		const variants = new Set();
		for (const path of Object.keys(fields))
			if (path.startsWith('variants['))
				variants.add(Number(path.slice(9, path.indexOf(']'))));
		const effect = { n: ++this.effectNumber, kind, by: by.app ? 'app' : by.name || 'merchant', request: by.request ?? null,
			product: product.id, handle: product.handle, variants: [...variants], at: isoTime(at), time: Date.now(), fields,
			mutation: by.mutation ?? null, alias: by.alias ?? null, key: by.key ?? null, bulk: by.bulkOperation ?? null, line: by.line ?? null };
		this.effectCounts[`${effect.by}.${kind}`] = (this.effectCounts[`${effect.by}.${kind}`] || 0) + 1;
		this.effects.push(effect);
		if (this.effects.length > this.options.effects_kept * 2)
			this.effects = this.effects.slice(-this.options.effects_kept);
		for (const listener of this.listeners)
			listener(effect, product);
	}

	// ---- the search index ------------------------------------------------------------------------------------------------------
	// Searches see a product as it was before a change until the index has caught up: after index_lag_ms, or, while index_hold is
	// on, when the test says so.  What searches see is product.indexed: undefined = as it is, null = not there yet.

	lagging() { return this.options.index_hold || this.options.index_lag_ms > 0; }

	index(product, before, at) {
		if (!this.lagging())
			return;
		if (product.indexed === undefined)
			product.indexed = before;
		product.unindexed = (product.unindexed || 0) + 1;
		this.pending.push({ product, at });
	}

	// Lets the index see the next `count` changes, or those that are old enough.
	catchUp(count) {
		const horizon = this.now() - this.options.index_lag_ms * 1000;
		while (this.pending.length && (count === undefined ? !this.options.index_hold && this.pending[0].at <= horizon : count-- > 0)) {
			const { product } = this.pending.shift();
			if (--product.unindexed === 0) {
				delete product.indexed;
				this.version++;
			} else if (product.indexed === null)
				product.indexed = { ...product, variants: [...product.variants] };
		}
	}

	// ---- seeds -----------------------------------------------------------------------------------------------------------------

	// Products 1 to `count` of a seed, those that the feed and the ERP of the other doubles have too (test/lib/products.js).
	generate({ products: count, variants = 2, seed = 1, from = 1, levels = 1, sku_prefix }) {
		const places = [...this.locations.values()].slice(0, levels);
		const at = this.last;
		for (let i = from; i < from + count; i++) {
			const p = products.product(seed, i);
			const time = at + (i - from + 1) * 1000003;
			const product = this.makeProduct({
				title: p.title, handle: p.handle, descriptionHtml: `<p>${p.sentence(20)} ${p.sentence(21)}</p>`, vendor: p.brand,
					productType: p.type,
				tags: [p.type, p.color], status: i % 50 === 9 ? 'DRAFT' : 'ACTIVE',
					images: [{ src: `https://images.example.com/${p.sku}.jpg`, alt: p.title.slice(0, 40) }],
				options: variants > 1 ? [{ name: 'Pack' }] : undefined,
			}, time);
			for (let v = 0; v < variants; v++) {
				const number = products.variantSku(p.sku, v);
				const variant = this.makeVariant(product,
					{ sku: sku_prefix ? number.replace(/^CWS-/, sku_prefix) : number, barcode: v === 0 ? p.gtin : '',
					price: (p.cents + v * 100) / 100,
					cost: Math.round(p.cents * 0.6) / 100, weight: { value: p.grams, unit: 'GRAMS' }, options: variants > 1
						? [`Size ${v + 1}`] : undefined }, time);
				places.forEach((place, k) => this.addLevel(variant, place, products.mix(seed, i * 8 + v, 40 + k) % 60, time));
			}
			this.put(product);
			this.last = time;
		}
	}

	// A product as a test writes it; `by` null: it was always there.
	add(v, by) {
		const at = v.updatedAt ? Date.parse(v.updatedAt) * 1000 : by ? this.tick() : ++this.last;
		this.last = Math.max(this.last, at);
		const product = this.makeProduct({ ...v, options: v.options && v.options.map((o) => (typeof o === 'string' ? { name: o } : o)) },
			at);
		for (const variant of v.variants && v.variants.length ? v.variants : [{}])
			this.makeVariant(product, variant, at);
		this.put(product);
		if (by)
			this.change(product, 'product.create', by, () => {});
		return product;
	}
}

module.exports = { Store, QUANTITIES, by, gid, numberOf, isoTime, money, slug, sanitise, tagList };
