// What the merchant does in Shopify's own admin, and what orders do: changes without a request of ours.  And a product in short.
'use strict';

const { money, sanitise, tagList, numberOf } = require('./store.js');

const TEXTS = ['title', 'vendor', 'productType', 'status', 'templateSuffix'];
const VARIANT_TEXTS = ['sku', 'barcode', 'inventoryPolicy', 'taxable', 'tracked', 'requiresShipping', 'country', 'harmonised',
	'mediaId'];

// Sets what `v` names of a product; notes what that changes.  Mutations use it too.
function setProduct(store, product, v, fields) {
	for (const name of TEXTS)
		if (v[name] !== undefined)
			store.set(product, name, v[name] ?? '', fields);
	if (v.descriptionHtml !== undefined)
		store.set(product, 'descriptionHtml', sanitise(v.descriptionHtml), fields);
	if (v.tags !== undefined)
		store.set(product, 'tags', tagList(v.tags), fields);
	if (v.seo)
		for (const name of ['title', 'description'])
			if (v.seo[name] !== undefined)
				store.set(product.seo, name, v.seo[name] || null, fields, `seo.${name}`);
	if (v.handle !== undefined && v.handle !== null) {
		const old = product.handle;
		const handle = store.handleFor(product.title, v.handle, product);
		if (store.set(product, 'handle', handle, fields)) {
			store.handles.delete(old);
			store.handles.set(handle, product);
		}
	}
}

function setVariant(store, variant, v, fields, variants) {
	const at = `variants[${variant.id}]`;
	const before = Object.keys(fields).length;
	for (const name of VARIANT_TEXTS)
		if (v[name] !== undefined)
			store.set(variant, name, v[name], fields, `${at}.${name}`);
	if (v.price !== undefined)
		store.set(variant, 'price', money(v.price), fields, `${at}.price`);
	if (v.compareAtPrice !== undefined)
		store.set(variant, 'compareAtPrice', money(v.compareAtPrice), fields, `${at}.compareAtPrice`);
	if (v.cost !== undefined)
		store.set(variant, 'cost', money(v.cost), fields, `${at}.cost`);
	if (v.weight !== undefined)
		store.set(variant, 'weight', v.weight, fields, `${at}.weight`);
	if (v.options !== undefined) {
		const old = variant.values.map((x) => x.name), next = v.options.map(String);
		if (JSON.stringify(old) !== JSON.stringify(next)) {
			variant.values = variant.product.options.map((o, k) => store.optionValue(o, next[k] ?? old[k]));
			fields[`${at}.options`] = [old, next];
		}
	}
	if (Object.keys(fields).length > before)
		variants.add(variant);
}

function setMetafields(store, owner, list, fields, at = '') {
	for (const m of list || []) {
		const old = owner.metafields.find((x) => x.namespace === m.namespace && x.key === m.key);
		const path = `${at}metafields.${m.namespace}.${m.key}`;
		if (m.value === null) {
			if (old) {
				owner.metafields = owner.metafields.filter((x) => x !== old);
				fields[path] = [old.value, null];
			}
			continue;
		}
		const was = old ? old.value : null;
		if (store.setMetafield(owner, m, store.now()))
			fields[path] = [was, owner.metafields.find((x) => x.namespace === m.namespace && x.key === m.key).value];
	}
}

// Sets a stock quantity; a level that is not there yet is made.
function setStock(store, variant, location, name, value, fields, variants) {
	const at = store.tick();
	const level = store.level(variant, location) || store.addLevel(variant, location, 0, at);
	const old = store.quantity(level, name);
	if (old === value)
		return false;
	store.setQuantity(level, name, value);
	level.updated = at;
	fields[`variants[${variant.id}].stock[${location.id}].${name}`] = [old, value];
	variants.add(variant);
	return true;
}

// Images as effects tell them: [[address that was given, alternative text], ..].
const pictures = (product) => product.media.map((m) => [m.source, m.alt]);

// Changes the images of a product: `edit` does it; notes what that changes.
function changeImages(product, fields, edit) {
	const old = pictures(product);
	edit();
	const next = pictures(product);
	if (JSON.stringify(old) !== JSON.stringify(next))
		fields.images = [fields.images ? fields.images[0] : old, next];
}

function setImages(store, product, list, fields) {
	const next = list.map((i) => (typeof i === 'string' ? [i, ''] : [i.src ?? i.originalSource, i.alt || '']));
	if (JSON.stringify(pictures(product)) !== JSON.stringify(next))
		changeImages(product, fields, () => {
			const kept = [...product.media];
			for (const m of kept)
				store.detach(product, m);
			for (const [src, alt] of next) {
				const same = kept.find((m) => m.source === src || m.url === src);
				if (same)
					store.attach(product, Object.assign(same, { alt }));
				else
					store.addMedia(product, { src, alt });
			}
		});
}

function findProduct(store, key) {
	const text = String(key);
	return store.products.get(Number(text)) || store.product(text) || store.handles.get(text) || (store.findVariant(text) || {}).product;
}

function findVariant(store, product, key) {
	const text = String(key);
	return product.variants.find((v) => String(v.id) === text || v.sku === text || v.id === numberOf(text));
}

// One change: { product: id | handle | sku, set: {..}, variants: { sku or id: {price.., stock: {location: n}} }, metafields, images,
// add_variants: [..], remove_variants: [..], delete: true }, or { add: {a product} }, or { order: { sku, location, quantity } },
// or { location: {id or name, set: {name, isActive}} }.
function edit(store, change) {
	const by = { name: change.by || 'merchant' };
	if (change.add)
		return summary(store.add(change.add, by), store);
	if (change.order)
		return order(store, change.order);
	if (change.location !== undefined) {
		const location = store.locationNamed(change.location);
		Object.assign(location, change.set, { updated: store.tick() });
		return { id: location.id };
	}
	const product = findProduct(store, change.product);
	if (!product)
		throw new Error(`no such product: ${change.product}`);
	if (change.delete) {
		store.remove(product, by);
		return { id: product.id, deleted: true };
	}
	if (change.images || change.set || change.metafields || change.add_variants || change.remove_variants
		|| Object.values(change.variants || {}).some((v) => Object.keys(v).some((k) => k !== 'stock')))
		store.change(product, 'product.update', by, (fields, variants) => {
			setProduct(store, product, change.set || {}, fields);
			setMetafields(store, product, change.metafields, fields);
			if (change.images)
				setImages(store, product, change.images, fields);
			for (const key of change.remove_variants || []) {
				const variant = wanted(store, product, key);
				store.dropVariant(variant);
				fields[`variants[${variant.id}]`] = [variant.sku, null];
			}
			for (const v of change.add_variants || []) {
				const variant = store.makeVariant(product, v, store.now());
				store.putVariant(variant);
				fields[`variants[${variant.id}]`] = [null, variant.sku];
				variants.add(variant);
			}
			for (const [key, v] of Object.entries(change.variants || {}))
				setVariant(store, wanted(store, product, key), v, fields, variants);
		});
	for (const [key, v] of Object.entries(change.variants || {}))
		if (v.stock)
			store.change(product, 'inventory', by, (fields, variants) => {
				for (const [place, n] of Object.entries(v.stock))
					setStock(store, wanted(store, product, key), store.locationNamed(place), 'available', Number(n), fields, variants);
			});
	return summary(product, store);
}

function wanted(store, product, key) {
	const variant = findVariant(store, product, key);
	if (!variant)
		throw new Error(`product ${product.id} has no variant ${key}`);
	return variant;
}

// An order takes from what is available; what it took is committed until it ships.
function order(store, { sku, location, quantity = 1 }) {
	const variant = store.findVariant(sku);
	if (!variant)
		throw new Error(`no variant has SKU ${sku}`);
	const level = location === undefined ? variant.levels[0] : store.level(variant, store.locationNamed(location));
	store.change(variant.product, 'inventory', { name: 'order' }, (fields, variants) => {
		setStock(store, variant, level.location, 'committed', level.committed + quantity, fields, variants);
		setStock(store, variant, level.location, 'available', level.available - quantity, fields, variants);
	});
	return summary(variant.product, store);
}

// A product in short, for comparisons.
function summary(p, store) {
	return {
		id: p.id, title: p.title, handle: p.handle, descriptionHtml: p.descriptionHtml, vendor: p.vendor, productType: p.productType,
			status: p.status, tags: p.tags,
		seo: p.seo, updated: p.updated, options: p.options.map((o) => o.name),
			images: p.media.map((m) => ({ id: m.id, src: m.url, alt: m.alt, source: m.source })),
		metafields: Object.fromEntries(p.metafields.map((m) => [`${m.namespace}.${m.key}`, m.value])),
		variants: p.variants.map((v) => ({
			id: v.id, item: v.itemId, sku: v.sku, barcode: v.barcode, price: v.price, compareAtPrice: v.compareAtPrice, cost: v.cost,
				weight: v.weight, position: v.position,
			options: v.values.map((x) => x.name), tracked: v.tracked, policy: v.inventoryPolicy,
			stock: Object.fromEntries(v.levels.map((l) =>
				[l.location.id, { available: l.available, on_hand: store.quantity(l, 'on_hand'), committed: l.committed }])),
		})),
	};
}

module.exports = { edit, summary, setProduct, setVariant, setMetafields, setStock, setImages, changeImages };
