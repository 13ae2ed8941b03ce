// The mutations of products, variants and metafields.  Each checks everything before it changes anything, and answers with userErrors in
// Shopify's words where those are recorded.
'use strict';

const { numberOf, slug, by } = require('./store.js');
const { setProduct, setVariant, setMetafields, setImages, setStock } = require('./merchant.js');
const { addErrors, addMedia } = require('./media.js');

const error = (field, message, code) => ({ field, message, ...(code ? { code } : {}) });
const METAFIELDS_MAX = 25;

// ---- reading inputs ------------------------------------------------------------------------------------------------------------

// The variant part of an input (ProductVariantsBulkInput or ProductVariantSetInput) in the words of the store.
function variantValues(input) {
	const item = input.inventoryItem || {};
	const values = { barcode: input.barcode, price: input.price, compareAtPrice: input.compareAtPrice,
		inventoryPolicy: input.inventoryPolicy ?? undefined,
		taxable: input.taxable ?? undefined, sku: item.sku !== undefined ? item.sku : input.sku, cost: item.cost,
			tracked: item.tracked ?? undefined,
		requiresShipping: item.requiresShipping ?? undefined, country: item.countryCodeOfOrigin, harmonised: item.harmonizedSystemCode };
	if (input.mediaId !== undefined)
		values.mediaId = input.mediaId === null ? null : numberOf(input.mediaId);
	if (item.measurement && item.measurement.weight)
		values.weight = { value: item.measurement.weight.value, unit: item.measurement.weight.unit };
	for (const name of Object.keys(values))
		if (values[name] === undefined)
			delete values[name];
	return values;
}

// What is wrong with the values of a variant.
function variantErrors(input, path) {
	const errors = [];
	for (const [name, label] of [['price', 'Price'], ['compareAtPrice', 'Compare at price']]) {
		const value = input[name];
		if (value === undefined || value === null)
			continue;
		if (!Number.isFinite(Number(value)) || String(value).trim() === '')
			errors.push(error([...path, name], `${label} is not a number`, 'INVALID_INPUT'));
		else if (Number(value) < 0)
			errors.push(error([...path, name], `${label} must be greater than or equal to 0`, 'GREATER_THAN_OR_EQUAL_TO'));
		else if (Number(value) >= 1e18)
			errors.push(error([...path, name], 'must be less than 1000000000000000000', 'INVALID_INPUT'));
	}
	if (input.price === null)
		errors.push(error([...path, 'price'], 'Price can\'t be blank', 'BLANK'));
	const sku = (input.inventoryItem && input.inventoryItem.sku) ?? input.sku;
	if (sku && sku.length > 255)
		errors.push(error([...path, 'inventoryItem', 'sku'], 'SKU is too long (maximum is 255 characters)', 'TOO_LONG'));
	if (input.barcode && input.barcode.length > 255)
		errors.push(error([...path, 'barcode'], 'Barcode is too long (maximum is 255 characters)', 'TOO_LONG'));
	return errors;
}

function productErrors(store, input, path, self) {
	const errors = [];
	const long = (name, label, most) => {
		if (input[name] && input[name].length > most)
			errors.push(error([...path, name], `${label} is too long (maximum is ${most} characters)`, 'INVALID_INPUT'));
	};
	if (input.title !== undefined && !(input.title || '').trim())
		errors.push(error([...path, 'title'], 'Title can\'t be blank', 'INVALID_INPUT'));
	long('title', 'Title', 255);
	long('handle', 'Handle', 255);
	long('vendor', 'Vendor', 255);
	long('productType', 'Product type', 255);
	if (input.handle) {
		const owner = store.handles.get(slug(input.handle));
		if (owner && owner !== self)
			errors.push(error([...path, 'handle'], `Handle '${input.handle}' already in use. Please provide a new handle.`,
				'HANDLE_NOT_UNIQUE'));
	}
	if ((input.tags || []).some((tag) => tag.length > 255))
		errors.push(error([...path, 'tags'], 'Product tags is invalid', 'INVALID_INPUT'));
	return errors;
}

// The names of the option values that an input gives, in the order of the product's options; undefined where it gives none.
function optionNames(product, input) {
	if (!input.optionValues || !input.optionValues.length)
		return undefined;
	return product.options.map((o) => {
		const given = input.optionValues.find((v) => (v.optionId ? numberOf(v.optionId) === o.id : v.optionName === o.name));
		if (!given)
			return undefined;
		return given.name ?? (o.values.find((x) => x.id === numberOf(given.id)) || {}).name;
	});
}

const optionKey = (names) => names.join(' / ');

// ---- products ------------------------------------------------------------------------------------------------------------------

const withoutCode = (errors) => errors.map(({ field, message }) => ({ field, message }));

function productCreate({ product: given, input: old, media }, context) {
	const { store } = context;
	const input = given || old || {};
	const errors = [...productErrors(store, { ...input, title: input.title ?? '' }, ['product']), ...addErrors(null, media)];
	if (errors.length)
		return { product: null, shop: context.options, userErrors: withoutCode(errors.map((e) =>
			(e.message.startsWith('Title can') ? { ...e, field: ['title'] } : e))) };
	const product = store.makeProduct({ ...input, status: input.status ?? 'ACTIVE',
		images: (media || []).map((m) => ({ src: m.originalSource, alt: m.alt })),
		metafields: input.metafields, options: input.productOptions
			&& input.productOptions.map((o) => ({ name: o.name, values: (o.values || []).map((v) => v.name) })) }, store.tick());
	store.makeVariant(product, { tracked: false, options: product.options.map((o) => (o.values[0] || {}).name) }, product.created);
	store.put(product);
	store.change(product, 'product.create', by(context), () => {});
	return { product, shop: context.options, userErrors: [] };
}

function productUpdate({ product: given, input: old, identifier, media }, context) {
	const { store } = context;
	const input = given || old || {};
	const product = identifier ? store.findProduct(identifier) : store.product(input.id);
	if (!product)
		return { product: null, userErrors: [error(['id'], 'Product does not exist')] };
	const errors = [...productErrors(store, input, ['product'], product), ...addErrors(product, media)];
	if (errors.length)
		return { product, userErrors: withoutCode(errors.map((e) => (e.field[1] === 'title' ? { ...e, field: ['title'] } : e))) };
	store.change(product, 'product.update', by(context), (fields) => {
		setProduct(store, product, input, fields);
		setMetafields(store, product, input.metafields, fields);
		if (media && media.length)
			addMedia(store, product, media, fields);
	});
	return { product, userErrors: [] };
}

function productDelete({ input }, context) {
	const product = context.store.product(input.id);
	if (!product)
		return { deletedProductId: null, shop: context.options, userErrors: [error(['id'], 'Product does not exist')] };
	context.store.remove(product, by(context));
	return { deletedProductId: input.id, shop: context.options, productDeleteOperation: null, userErrors: [] };
}

// ---- variants ------------------------------------------------------------------------------------------------------------------

function createVariants({ productId, variants: inputs, strategy }, context) {
	const { store, options } = context;
	const product = store.product(productId);
	const refuse = (errors) => ({ product: null, productVariants: null, userErrors: errors });
	if (!product)
		return refuse([error(['productId'], 'Product does not exist', 'PRODUCT_DOES_NOT_EXIST')]);
	const errors = [];
	const standalone = product.variants.length === 1 && product.variants[0].values.every((v) => v.name === 'Default Title');
	const replaces = (strategy === 'REMOVE_STANDALONE_VARIANT' && product.variants.length === 1)
		|| (standalone && strategy !== 'PRESERVE_STANDALONE_VARIANT');
	if (product.variants.length - (replaces ? 1 : 0) + inputs.length > options.variants_max)     // text and code are not recorded
		return refuse([error(['variants'], `Product cannot have more than ${options.variants_max} variants`, 'INVALID_INPUT')]);
	const taken = new Set(replaces ? [] : product.variants.map((v) => optionKey(v.values.map((x) => x.name))));
	const names = inputs.map((input, k) => {
		const path = ['variants', String(k)];
		errors.push(...variantErrors(input, path));
		if (input.id)
			errors.push(error([...path, 'id'], 'ID must not be specified on create', 'NO_KEY_ON_CREATE'));
		const wanted = optionNames(product, input) || product.options.map(() => undefined);
		const unknown = (input.optionValues || []).filter((v) => v.optionName && !product.options.some((o) => o.name === v.optionName));
		if (unknown.length)
			errors.push(error([...path, 'optionValues', '0', 'optionName'], `Option '${unknown[0].optionName}' does not exist`,
				'INVALID_INPUT'));
		else if (wanted.includes(undefined) && !(product.options.length === 1 && product.options[0].name === 'Title'))
			errors.push(error(path, `You need to add option values for ${product.options[wanted.indexOf(undefined)].name}`,
				'NEED_TO_ADD_OPTION_VALUES'));
		const key = optionKey(wanted.map((n) => n ?? 'Default Title'));
		if (taken.has(key))
			errors.push(error(path, `The variant '${key}' already exists. Please change at least one option value.`,
				'VARIANT_ALREADY_EXISTS_CHANGE_OPTION_VALUE'));
		taken.add(key);
		for (const [i, q] of (input.inventoryQuantities || []).entries())
			if (!store.location(q.locationId))
				errors.push(error([...path, 'inventoryQuantities', String(i)], 'Quantity for location could not be found.',
					'TRACKED_VARIANT_LOCATION_NOT_FOUND'));
		return wanted;
	});
	if (errors.length)
		return refuse(errors);
	const made = [];
	store.change(product, 'product.update', by(context), (fields, touched) => {
		if (replaces)
			store.dropVariant(product.variants[0]);
		inputs.forEach((input, k) => {
			const stock = Object.fromEntries((input.inventoryQuantities || []).map((q) => [numberOf(q.locationId), q.availableQuantity]));
			const variant = store.makeVariant(product, { price: product.variants[0] ? product.variants[0].price : '0.00', tracked: false,
				...variantValues(input), options: names[k], stock,
				metafields: input.metafields }, store.now());
			store.putVariant(variant);
			fields[`variants[${variant.id}]`] = [null, variant.sku];
			touched.add(variant);
			made.push(variant);
		});
	});
	return { product, productVariants: made, userErrors: [] };
}

function updateVariants({ productId, variants: inputs, allowPartialUpdates }, context) {
	const { store, options } = context;
	const product = store.product(productId);
	const refuse = (errors) => ({ product: null, productVariants: null, userErrors: errors });
	if (!product)
		return refuse([error(['productId'], 'Product does not exist', 'PRODUCT_DOES_NOT_EXIST')]);
	if (inputs.length > options.variants_update_max)
		return refuse([error(['variants'], `The number of variants must not be greater than ${options.variants_update_max}.`,
			'INVALID_INPUT')]);
	const errors = [], good = [], seen = new Set();
	inputs.forEach((input, k) => {
		const path = ['variants', String(k)];
		const before = errors.length;
		const variant = input.id ? store.variant(input.id) : null;
		if (!input.id)
			errors.push(error([...path, 'id'], 'Product variant is missing ID attribute', 'PRODUCT_VARIANT_ID_MISSING'));
		else if (!variant || variant.product !== product)
			errors.push(error([...path, 'id'], 'Product variant does not exist', 'PRODUCT_VARIANT_DOES_NOT_EXIST'));
		if (seen.has(input.id))
			errors.push(error([...path, 'id'], 'Product variant IDs must be unique', 'INVALID_INPUT'));
		seen.add(input.id);
		if (input.inventoryQuantities)
			errors.push(error([...path, 'inventoryQuantities'],
				'Inventory quantities can only be provided during create. '
					+ 'To update inventory for existing variants, use inventoryAdjustQuantities.',
				'NO_INVENTORY_QUANTITIES_ON_VARIANTS_UPDATE'));
		errors.push(...variantErrors(input, path));
		if (input.mediaId && !product.media.some((m) => m.id === numberOf(input.mediaId)))
			errors.push(error([...path, 'mediaId'], 'Media does not exist on the specified product.', 'INVALID_INPUT'));
		if (errors.length === before)
			good.push([variant, input]);
	});
	if (errors.length && !allowPartialUpdates)
		return refuse(errors);
	store.change(product, 'product.update', by(context), (fields, touched) => {
		for (const [variant, input] of good) {
			const names = optionNames(product, input);
			setVariant(store, variant, { ...variantValues(input),
				...(names ? { options: names.map((n, k) => n ?? variant.values[k].name) } : {}) }, fields, touched);
			setMetafields(store, variant, input.metafields, fields, `variants[${variant.id}].`);
		}
	});
	return { product, productVariants: good.map(([variant]) => variant), userErrors: errors };
}

function deleteVariants({ productId, variantsIds }, context) {
	const { store } = context;
	const product = store.product(productId);
	if (!product)
		return { product: null, userErrors: [error(['productId'], 'Product does not exist', 'PRODUCT_DOES_NOT_EXIST')] };
	const variants = variantsIds.map((id) => store.variant(id));
	const strange = variants.findIndex((v) => !v || v.product !== product);
	if (strange >= 0)
		return { product: null, userErrors: [error(['variantsIds', String(strange)], 'At least one variant does not belong to the product',
			'AT_LEAST_ONE_VARIANT_DOES_NOT_BELONG_TO_THE_PRODUCT')] };
	if (variants.length >= product.variants.length)
		return { product, userErrors: [error(['variantsIds'], 'Cannot delete the last variant of a product',
			'CANNOT_DELETE_LAST_VARIANT')] };
	store.change(product, 'product.update', by(context), (fields) => {
		for (const variant of variants) {
			store.dropVariant(variant);
			fields[`variants[${variant.id}]`] = [variant.sku, null];
		}
	});
	return { product, userErrors: [] };
}

// ---- productSet ----------------------------------------------------------------------------------------------------------------

// Makes the product what the input says.  A list that is given is the whole list: variants, metafields and files that are not in it
// are DELETED; its inventory quantities are set without comparing.
function productSet({ identifier, input, synchronous }, context) {
	const { store } = context;
	const refuse = (errors) => ({ product: null, productSetOperation: null, userErrors: errors });
	if (!synchronous)
		throw new Error('the double has productSet only synchronous');
	let product = identifier ? store.findProduct(identifier) : input.id ? store.product(input.id) : undefined;
	if (!product && ((identifier && identifier.id) || input.id))
		return refuse([error(['identifier'], 'Product does not exist', 'PRODUCT_DOES_NOT_EXIST')]);
	const errors = productErrors(store, product ? input : { ...input, title: input.title ?? '' }, ['input'], product);
	if (input.variants && !input.productOptions)
		errors.push(error(['input', 'productOptions'], 'Product options input is required when updating variants',
			'PRODUCT_OPTIONS_INPUT_MISSING'));
	if (input.productOptions && !input.variants && product)
		errors.push(error(['input', 'variants'], 'Variants input is required when updating product options', 'VARIANTS_INPUT_MISSING'));
	const keys = new Set();
	for (const [k, v] of (input.variants || []).entries()) {
		errors.push(...variantErrors(v, ['input', 'variants', String(k)]).map((e) => ({ ...e, code: 'INVALID_VARIANT' })));
		const key = v.optionValues.map((o) => o.name).join(' / ');
		if (keys.has(key))
			errors.push(error(['input', 'variants', String(k)],
				`The variant '${key}' already exists. Please change at least one option value.`, 'INVALID_VARIANT'));
		keys.add(key);
		if (v.id && !(product && product.variants.includes(store.variant(v.id))))
			errors.push(error(['input', 'variants', String(k), 'id'], 'Product variant does not exist', 'PRODUCT_VARIANT_DOES_NOT_EXIST'));
	}
	if (errors.length)
		return refuse(errors);
	const fresh = !product;
	if (fresh) {
		product = store.makeProduct({ ...input, metafields: [], images: [], options: undefined,
			handle: input.handle ?? (identifier && identifier.handle) }, store.tick());
		if (!input.variants)
			store.makeVariant(product, { tracked: false }, product.created);
	}
	const edit = (fields, touched) => {
		setProduct(store, product, input, fields);
		if (input.metafields) {
			setMetafields(store, product, product.metafields.filter((m) =>
				!input.metafields.some((x) => x.namespace === m.namespace && x.key === m.key))
				.map((m) => ({ ...m, value: null })), fields);
			setMetafields(store, product, input.metafields, fields);
		}
		if (input.files)
			setImages(store, product, input.files.map((f) => {
				const known = f.id && product.media.find((m) => m.id === numberOf(f.id));
				return known ? { src: known.source, alt: f.alt ?? known.alt } : { src: f.originalSource, alt: f.alt };
			}), fields);
		if (input.productOptions)
			setOptions(product, input.productOptions, fields, store);
		if (input.variants)
			setVariants(product, input.variants, fields, touched, context);
	};
	if (fresh) {
		edit({}, new Set());
		store.put(product);
		store.change(product, 'product.create', by(context), () => {});
	} else
		store.change(product, 'product.update', by(context), edit);
	return { product, productSetOperation: null, userErrors: [] };
}

function setOptions(product, inputs, fields, store) {
	const old = product.options.map((o) => o.name);
	product.options = inputs.map((o, k) => {
		const known = product.options.find((x) => (o.id ? x.id === numberOf(o.id) : x.name === o.name));
		const option = known || { id: store.newId('ProductOption'), name: o.name, position: 0, values: [] };
		option.name = o.name ?? option.name;
		option.position = k + 1;
		for (const v of o.values || [])
			store.optionValue(option, v.name);
		return option;
	});
	if (JSON.stringify(old) !== JSON.stringify(product.options.map((o) => o.name)))
		fields.options = [old, product.options.map((o) => o.name)];
}

function setVariants(product, inputs, fields, touched, { store }) {
	const wanted = inputs.map((input) => {
		const names = optionNames(product, input);
		const variant = input.id ? store.variant(input.id)
			: product.variants.find((v) => optionKey(v.values.map((x) => x.name)) === optionKey(names));
		return { input, names, variant };
	});
	for (const variant of product.variants.filter((v) => !wanted.some((w) => w.variant === v))) {
		store.dropVariant(variant);
		fields[`variants[${variant.id}]`] = [variant.sku, null];
	}
	const list = wanted.map(({ input, names, variant }) => {
		const stock = input.inventoryQuantities || [];
		if (!variant) {
			variant = store.makeVariant(product, { tracked: false, ...variantValues(input), options: names, metafields: input.metafields },
				store.now());
			store.putVariant(variant);
			fields[`variants[${variant.id}]`] = [null, variant.sku];
			touched.add(variant);
		} else {
			if (variant.values.length !== product.options.length)
				variant.values = product.options.map((o, k) => store.optionValue(o, names[k]));
			setVariant(store, variant, { ...variantValues(input), options: names }, fields, touched);
			if (input.metafields)
				setMetafields(store, variant, [...variant.metafields.filter((m) =>
					!input.metafields.some((x) => x.namespace === m.namespace && x.key === m.key))
					.map((m) => ({ ...m, value: null })), ...input.metafields], fields, `variants[${variant.id}].`);
		}
		for (const q of stock)
			setStock(store, variant, store.location(q.locationId), q.name, q.quantity, fields, touched);
		return variant;
	});
	product.variants = list;
	list.forEach((v, k) => { v.position = k + 1; });
}

// ---- metafields ----------------------------------------------------------------------------------------------------------------

const ownerOf = (store, id) => store.product(id) || store.variant(id);

// All or nothing; compareDigest: the digest of the value that is expected there, null = nothing is there yet.
function metafieldsSet({ metafields }, context) {
	const { store } = context;
	const refuse = (list) => ({ metafields: [], userErrors: list });
	if (metafields.length > METAFIELDS_MAX)
		return refuse([{ ...error(['metafields'], `Exceeded the maximum metafields input limit of ${METAFIELDS_MAX}.`,
			'LESS_THAN_OR_EQUAL_TO'), elementIndex: null }]);
	const errors = [];
	metafields.forEach((m, k) => {
		const path = ['metafields', String(k)];
		const owner = ownerOf(store, m.ownerId);
		const fail = (field, message, code) => errors.push({ ...error(field, message, code), elementIndex: null });
		if (!owner) {
			fail([...path, 'ownerId'], 'Owner does not exist.', 'INVALID');
			return;
		}
		const old = owner.metafields.find((x) => x.namespace === (m.namespace ?? 'custom') && x.key === m.key);
		if (!old && !m.type)
			fail([...path, 'type'], 'Type can\'t be blank', 'BLANK');
		if (m.value === '')
			fail([...path, 'value'], 'can\'t be blank', 'BLANK');
		if (m.compareDigest !== undefined && m.compareDigest !== (old ? store.digest(old) : null))
			fail(path, 'The resource has been updated since it was loaded. Try again with an updated `compareDigest` value.',
				'STALE_OBJECT');
	});
	if (errors.length)
		return refuse(errors);
	const byOwner = new Map();
	for (const m of metafields)
		byOwner.set(m.ownerId, [...(byOwner.get(m.ownerId) || []), { ...m, namespace: m.namespace ?? 'custom' }]);
	for (const [id, list] of byOwner) {
		const owner = ownerOf(store, id);
		store.change(owner.product || owner, 'product.update', by(context),
			(fields) => setMetafields(store, owner, list, fields, owner.product ? `variants[${owner.id}].` : ''));
	}
	return { metafields: metafields.map((m) => ownerOf(store, m.ownerId).metafields.find((x) => x.namespace === (m.namespace ?? 'custom')
		&& x.key === m.key)), userErrors: [] };
}

function metafieldsDelete({ metafields }, context) {
	const { store } = context;
	const deleted = metafields.map((m) => {
		const owner = ownerOf(store, m.ownerId);
		const old = owner && owner.metafields.find((x) => x.namespace === m.namespace && x.key === m.key);
		if (!old)
			return null;
		store.change(owner.product || owner, 'product.update', by(context),
			(fields) => setMetafields(store, owner, [{ ...m, value: null }], fields, owner.product ? `variants[${owner.id}].` : ''));
		return { ownerId: m.ownerId, namespace: m.namespace, key: m.key };
	});
	return { deletedMetafields: deleted, userErrors: [] };
}

// ---- publishing ----------------------------------------------------------------------------------------------------------------

function publish(on) {
	return ({ id, input }, context) => {
		const product = context.store.product(id);
		if (!product)
			return { publishable: null, shop: context.options, userErrors: [error(['id'], 'Resource does not exist')] };
		const wanted = input.map((p) => numberOf(p.publicationId));
		const strange = wanted.findIndex((n) => !context.store.publications.some((p) => p.id === n));
		if (strange >= 0)
			return { publishable: null, shop: context.options,
				userErrors: [error(['input', String(strange), 'publicationId'], 'Publication does not exist or is not publishable')] };
		context.store.change(product, 'product.update', by(context), (fields) => {
			const next = on ? [...new Set([...product.publications, ...wanted])] : product.publications.filter((n) => !wanted.includes(n));
			context.store.set(product, 'publications', next, fields);
		});
		return { publishable: Object.assign(Object.create(product), { __typename: 'Product', origin: product }), shop: context.options,
			userErrors: [] };
	};
}

module.exports = {
	variantValues,
	mutations: { productCreate, productUpdate, productDelete, productSet, productVariantsBulkCreate: createVariants,
		productVariantsBulkUpdate: updateVariants,
		productVariantsBulkDelete: deleteVariants, metafieldsSet, metafieldsDelete, publishablePublish: publish(true),
			publishableUnpublish: publish(false) },
};
