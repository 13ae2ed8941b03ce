// The mutations of images: adding (productUpdate's `media` uses this too), removing, reordering, alternative texts.  A file lives on when
// it is taken out of a product by fileUpdate; productDeleteMedia deletes it.  The refusals are recorded ones, but where said otherwise.
'use strict';

const crypto = require('crypto');
const { numberOf, gid, by } = require('./store.js');
const { changeImages } = require('./merchant.js');

const MOST = 250;               // media of a product
const LONGEST_ALT = 512;
const error = (field, message, code) => ({ field, message, code });
const number = (id) => numberOf(id, 'MediaImage');
const namesOf = (media) => media.map((m) => gid('MediaImage', m.id));

// What is wrong with media that are to be added.
function addErrors(product, media) {
	const errors = [];
	(media || []).forEach((m, k) => {
		if (!/^https?:\/\/[^\s/]+\.?[^\s]*$/i.test(m.originalSource))
			errors.push(error(['media', String(k), 'originalSource'], 'Image URL is invalid', 'INVALID'));
		if (m.alt && m.alt.length > LONGEST_ALT)        // not recorded
			errors.push(error(['media', String(k), 'alt'], `The alt value exceeds the maximum limit of ${LONGEST_ALT} characters.`, 'INVALID'));
	});
	if (media && (product ? product.media.length : 0) + media.length > MOST)    // not recorded
		errors.push(error(['media'], 'Exceeded the limit of media per product', 'PRODUCT_MEDIA_LIMIT_EXCEEDED'));
	return errors;
}

function addMedia(store, product, media, fields) {
	const made = [];
	changeImages(product, fields, () => {
		for (const m of media)
			made.push(store.addMedia(product, { src: m.originalSource, alt: m.alt }));
	});
	return made;
}

// Both lists of errors that these mutations have: the older one has no codes.
const both = (errors) => ({ mediaUserErrors: errors, userErrors: errors.map(({ field, message }) => ({ field, message })) });
const missing = (ids, field) => error([field], ids.length === 1 ? `Media id ${ids[0]} does not exist`
	: `Media ids ${ids.join(',')} do not exist`, 'MEDIA_DOES_NOT_EXIST');
const noProduct = (field) => error([field], 'Product does not exist', 'PRODUCT_DOES_NOT_EXIST');

// Deprecated, and still there: those that are right are made, those that are not are told.
function productCreateMedia({ productId, media }, context) {
	const { store } = context, product = store.product(productId);
	if (!product)
		return { media: null, product: null, ...both([noProduct('productId')]) };
	const errors = addErrors(product, media);
	const wrong = new Set(errors.map((e) => Number(e.field[1])));
	let made = [];
	if (!errors.some((e) => e.field.length === 1))
		store.change(product, 'product.update', by(context), (fields) => {
			made = addMedia(store, product, media.filter((m, k) => !wrong.has(k)), fields);
		});
	return { media: made, product, ...both(errors) };
}

// Deprecated: alternative texts of a product's media.
function productUpdateMedia({ productId, media }, context) {
	const { store } = context, product = store.product(productId);
	if (!product)
		return { media: null, product: null, ...both([noProduct('productId')]) };
	const gone = media.filter((m) => !product.media.some((x) => x.id === number(m.id)));
	if (gone.length)
		return { media: null, product, ...both([missing(gone.map((m) => m.id), 'media')]) };
	store.change(product, 'product.update', by(context), (fields) => changeImages(product, fields, () => {
		for (const m of media)
			if (m.alt !== undefined)
				store.files.get(number(m.id)).alt = m.alt ?? '';
	}));
	return { media: media.map((m) => store.files.get(number(m.id))), product, ...both([]) };
}

// Takes media out of a product; its variants lose them too.
function takeOut(store, product, list, who) {
	store.change(product, 'product.update', who, (fields, touched) => {
		changeImages(product, fields, () => list.forEach((m) => store.detach(product, m)));
		for (const v of product.variants)
			if (list.some((m) => m.id === v.mediaId)) {
				store.set(v, 'mediaId', null, fields, `variants[${v.id}].mediaId`);
				touched.add(v);
			}
	});
}

function productDeleteMedia({ productId, mediaIds }, context) {
	const { store } = context, product = store.product(productId);
	const refuse = (e) => ({ deletedMediaIds: null, deletedProductImageIds: null, product: product || null, ...both([e]) });
	if (!product)
		return refuse(noProduct('productId'));
	const gone = mediaIds.filter((id) => !product.media.some((m) => m.id === number(id)));
	if (gone.length)
		return refuse(missing(gone, 'mediaIds'));
	const list = mediaIds.map((id) => store.files.get(number(id)));
	takeOut(store, product, list, by(context));
	for (const m of list)
		store.files.delete(m.id);
	return { deletedMediaIds: namesOf(list), deletedProductImageIds: list.map((m) => gid('ProductImage', m.id)), product, ...both([]) };
}

// Each move is done after the one before it; Shopify does this in the background, here it is done at once.
function productReorderMedia({ id, moves }, context) {
	const { store } = context, product = store.product(id);
	if (!product)
		return { job: null, ...both([noProduct('id')]) };
	const gone = moves.filter((m) => !product.media.some((x) => x.id === number(m.id))).map((m) => m.id);
	if (gone.length)            // not recorded
		return { job: null, ...both([missing(gone, 'moves')]) };
	store.change(product, 'product.update', by(context), (fields) => {
		const before = product.media.map((m) => m.id);
		changeImages(product, fields, () => {
			const list = [...product.media];
			for (const move of moves) {
				const [media] = list.splice(list.findIndex((m) => m.id === number(move.id)), 1);
				list.splice(Math.min(Number(move.newPosition), list.length), 0, media);
			}
			product.media = list;
		});
		if (!fields.images && JSON.stringify(before) !== JSON.stringify(product.media.map((m) => m.id)))
			fields.imageOrder = [before, product.media.map((m) => m.id)];      // among images that look the same
	});
	return { job: { id: `gid://shopify/Job/${crypto.randomUUID()}`, done: false }, ...both([]) };
}

// Files that are not there, not ready, or references to nothing fail all of them; too long a text fails its own file only.
function fileUpdate({ files }, context) {
	const { store } = context;
	const refuse = (...args) => ({ files: [], userErrors: [error(...args)] });
	const gone = files.filter((f) => !store.files.has(number(f.id))).map((f) => f.id);
	if (gone.length)
		return refuse(['files'], `File id${gone.length > 1 ? 's' : ''} ${JSON.stringify(gone)} do${gone.length > 1 ? '' : 'es'} not exist.`,
			'FILE_DOES_NOT_EXIST');
	if (files.some((f) => store.mediaStatus(store.files.get(number(f.id))) !== 'READY'))
		return refuse(['files'], 'Non-ready files cannot be updated.', 'NON_READY_STATE');
	if (files.some((f) => [...(f.referencesToAdd || []), ...(f.referencesToRemove || [])].some((id) => !store.product(id))))
		return refuse(['files'], 'The reference target does not exist', 'REFERENCE_TARGET_DOES_NOT_EXIST');
	const errors = [], done = [];
	files.forEach((f, k) => {
		const media = store.files.get(number(f.id));
		const fail = (name, ...args) => errors.push(error(['files', String(k), name], ...args));
		if (f.alt && f.alt.length > LONGEST_ALT)
			return fail('alt', `The alt value exceeds the maximum limit of ${LONGEST_ALT} characters.`, 'ALT_VALUE_LIMIT_EXCEEDED');
		if (f.originalSource && f.previewImageSource)
			return ['previewImageSource', 'originalSource'].forEach((name) => fail(name,
				'Cannot update the preview image and image at the same time because they are one and the same.', 'INVALID'));
		const source = f.originalSource ?? f.previewImageSource;
		if (source && !/^https?:\/\/\S+$/i.test(source))
			return fail('previewImageSource', 'Invalid image source url value provided', 'INVALID_IMAGE_SOURCE_URL');
		updateFile(store, media, f, source, by(context));
		return done.push(media);
	});
	return { files: done, userErrors: errors };
}

function updateFile(store, media, f, source, who) {
	const values = { ...(f.alt !== undefined ? { alt: f.alt ?? '' } : {}), ...(source ? { source } : {}) };
	const [first, ...others] = media.owners.map((product) => [product, product.media.map((m) => [m.source, m.alt])]);
	const edit = () => Object.assign(media, values, { updated: store.now() });
	if (first)
		store.change(first[0], 'product.update', who, (fields) => changeImages(first[0], fields, edit));
	else
		edit();
	for (const [product, old] of others)
		store.change(product, 'product.update', who, (fields) => {
			const next = product.media.map((m) => [m.source, m.alt]);
			if (JSON.stringify(old) !== JSON.stringify(next))
				fields.images = [old, next];
		});
	for (const id of f.referencesToRemove || [])
		takeOut(store, store.product(id), [media], who);
	for (const id of f.referencesToAdd || [])
		store.change(store.product(id), 'product.update', who, (fields) =>
			changeImages(store.product(id), fields, () => store.attach(store.product(id), media)));
}

module.exports = { addErrors, addMedia, mutations: { productCreateMedia, productUpdateMedia, productDeleteMedia, productReorderMedia,
	fileUpdate } };
