// The mutations of stock: absolute and relative changes with changeFromQuantity, and the replies that @idempotent remembers.
'use strict';

const { QUANTITIES, by } = require('./store.js');
const { setStock, setVariant } = require('./merchant.js');
const { variantValues } = require('./products.js');

const DAY = 86400 * 1e6;
const MOST = 1000000000;
const REASONS = ['correction', 'cycle_count_available', 'damaged', 'movement_canceled', 'movement_created', 'movement_received',
	'movement_updated', 'other', 'promotion',
	'quality_control', 'received', 'reservation_created', 'reservation_deleted', 'reservation_updated', 'restock', 'safety_stock',
		'shrinkage'];
const error = (field, message, code) => ({ field, message, ...(code ? { code } : {}) });
const changes = (group, { quantityNames }) => group.list.filter((c) => !quantityNames || quantityNames.includes(c.name));

// ---- @idempotent ---------------------------------------------------------------------------------------------------------------
// A key is remembered for 24 hours with what was asked, to the order of its parts, and what was answered: the same again gives the same
// answer and changes nothing, something else under the same key is refused, and so is what had failed.

const replies = new Map();

function idempotent(name, empty, work) {
	return (args, context) => {
		const { options, store } = context;
		const refuse = (message, code) => ({ ...empty, userErrors: [error(null, message, code)] });
		const { key } = context.mutation;
		if (options.idempotency_concurrent_next > 0) {
			options.idempotency_concurrent_next--;
			return refuse('This request is currently in progress, please try again.', 'IDEMPOTENCY_CONCURRENT_REQUEST');
		}
		const known = replies.get(key);
		const asked = `${name} ${JSON.stringify(args)}`;
		if (known && known.at > store.now() - DAY) {
			if (known.asked !== asked)
				return refuse('The same idempotency key cannot be used with different operation parameters.',
					'IDEMPOTENCY_KEY_PARAMETER_MISMATCH');
			if (known.failed)
				return refuse('A previous request with this idempotency key failed. Retry with a new idempotency key.',
					'IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED');
			return known.reply;
		}
		if (options.idempotency_failed_next > 0) {
			options.idempotency_failed_next--;
			replies.set(key, { asked, failed: true, at: store.now() });
			return refuse('A previous request with this idempotency key failed. Retry with a new idempotency key.',
				'IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED');
		}
		const reply = work(args, context);
		replies.set(key, { asked, reply, at: store.now() });
		return reply;
	};
}

// ---- set and adjust ------------------------------------------------------------------------------------------------------------

// Both: `list` of changes is checked as a whole, one bad one fails all.  `next` says the new quantity.
function change(input, list, path, context, names, next, nameError, what) {
	const { store, options } = context;
	const errors = [], seen = new Set();
	const fail = (field, message, code) => errors.push(error(field, message, code));
	if (!names.includes(input.name))
		fail(['input', 'name'], ...nameError);
	if (!REASONS.includes(input.reason))
		fail(['input', 'reason'], `The specified reason is invalid. Valid values are: ${REASONS.join(', ')}.`, 'INVALID_REASON');
	if (input.referenceDocumentUri && !/^[a-z][a-z0-9+.-]*:\/\/\S+$/i.test(input.referenceDocumentUri))
		fail(['input', 'referenceDocumentUri'], 'The specified reference document is invalid.', 'INVALID_REFERENCE_DOCUMENT');
	if (errors.length)
		return { inventoryAdjustmentGroup: null, userErrors: errors };
	const work = list.map((c, k) => {
		const at = ['input', path, String(k)];
		const item = store.item(c.inventoryItemId), location = store.location(c.locationId);
		if (!item)
			fail([...at, 'inventoryItemId'], 'The specified inventory item could not be found.', 'INVALID_INVENTORY_ITEM');
		if (!location)
			fail([...at, 'locationId'], 'The specified location could not be found.', 'INVALID_LOCATION');
		if (!item || !location)
			return null;
		const key = `${item.itemId}/${location.id}`;
		if (seen.has(key) && what === 'set')
			fail([...at, 'locationId'], 'The combination of inventoryItemId and locationId must be unique.',
				'NO_DUPLICATE_INVENTORY_ITEM_ID_GROUP_ID_PAIR');
		seen.add(key);
		const level = store.level(item, location);
		if (!level) {
			fail([...at, 'locationId'], 'The specified inventory item is not stocked at the location.', 'INVALID_LOCATION');
			return null;
		}
		const old = store.quantity(level, input.name);
		const value = next(c, old);
		if (what === 'set' && c.quantity < 0)
			fail([...at, 'quantity'], 'The quantity can\'t be negative.', 'INVALID_QUANTITY_NEGATIVE');
		else if (value > MOST)
			fail([...at, what === 'set' ? 'quantity' : 'delta'], 'The quantity can\'t be higher than 1,000,000,000.',
				'INVALID_QUANTITY_TOO_HIGH');
		else if (value < -MOST)
			fail([...at, what === 'set' ? 'quantity' : 'delta'], 'The quantity can\'t be lower than -1,000,000,000.',
				'INVALID_QUANTITY_TOO_LOW');
		if ((c.changeFromQuantity !== null && c.changeFromQuantity !== old) || options.stale_next > 0) {
			options.stale_next = Math.max(0, options.stale_next - 1);
			fail([...at, 'changeFromQuantity'], 'The changeFromQuantity value does not match persisted value.',
				'CHANGE_FROM_QUANTITY_STALE');
		}
		return { item, location, level, old, value };
	});
	if (errors.length)
		return { inventoryAdjustmentGroup: null, userErrors: errors };
	const done = [];
	const byProduct = new Map();
	for (const w of work)
		byProduct.set(w.item.product, [...(byProduct.get(w.item.product) || []), w]);
	for (const [product, list2] of byProduct)
		store.change(product, 'inventory', by(context), (fields, touched) => {
			for (const w of list2)
				if (setStock(store, w.item, w.location, input.name, what === 'set' ? w.value
					: store.quantity(w.level, input.name) + (w.value - w.old), fields, touched))
					for (const name of input.name === 'incoming' ? ['incoming'] : input.name === 'available' ? ['available', 'on_hand']
						: ['on_hand', input.name === 'on_hand' ? 'available' : input.name])
						done.push({ name, delta: w.value - w.old, quantityAfterChange: null, ledgerDocumentUri: null, level: w.level });
		});
	if (done.length === 0)
		return { inventoryAdjustmentGroup: null, userErrors: [] };     // nothing changed: no group, and no error
	const group = { id: store.newId('InventoryAdjustmentGroup'), created: store.now(), reason: input.reason,
		referenceDocumentUri: input.referenceDocumentUri ?? null, list: done,
		changes: (args) => changes(group, args) };
	return { inventoryAdjustmentGroup: group, userErrors: [] };
}

const SETTABLE = ['available', 'on_hand'];
const ADJUSTABLE = QUANTITIES.filter((n) => n !== 'on_hand' && n !== 'committed');

const setQuantities = ({ input }, context) => change(input, input.quantities, 'quantities', context, SETTABLE, (c) => c.quantity,
	['The quantity name must be either \'available\' or \'on_hand\'.', 'INVALID_NAME'], 'set');

const adjustQuantities = ({ input }, context) => change(input, input.changes, 'changes', context, ADJUSTABLE, (c, old) => old + c.delta,
	[`The specified quantity name is invalid. Valid values are: ${ADJUSTABLE.join(', ')}.`, 'INVALID_QUANTITY_NAME'], 'adjust');

function activate({ inventoryItemId, locationId, available, onHand }, context) {
	const { store } = context;
	const item = store.item(inventoryItemId), location = store.location(locationId);
	const given = (value) => value !== undefined && value !== null;
	const refuse = (...list) => ({ inventoryLevel: null, userErrors: list.map(([field, message]) => error([field], message)) });
	const notAt = (field, why) => [field, `The product couldn't be stocked at ${location.name} because ${why}.`];
	if (!item)
		return refuse(['inventoryItemId', 'The product couldn\'t be stocked because the product was deleted.']);
	if (!location)
		return refuse(['locationId', 'The product couldn\'t be stocked because the location wasn\'t found.']);
	if (given(available) && given(onHand))
		return refuse(...['available', 'onHand'].map((name) =>
			notAt(name, 'not allowed to set available and on_hand quantities at the same time')));
	const quantity = available ?? onHand ?? 0, named = given(onHand) ? 'onHand' : 'available';
	if (Math.abs(quantity) > MOST)
		return refuse(notAt(named, 'the quantity needs to be between -1 billion and 1 billion'));
	const known = store.level(item, location);
	if (known && (given(available) || given(onHand)))
		return refuse([named, `Not allowed to set ${given(onHand) ? 'an on_hand' : 'available'} quantity when the item is already active `
			+ 'at the location.']);
	if (!known)
		store.change(item.product, 'inventory', by(context), (fields, touched) => {
			store.addLevel(item, location, quantity, store.tick());
			fields[`variants[${item.id}].stock[${location.id}].available`] = [null, quantity];
			touched.add(item);
		});
	return { inventoryLevel: store.level(item, location), userErrors: [] };
}

function updateItem({ id, input }, context) {
	const { store } = context;
	const item = store.item(id);
	if (!item)
		return { inventoryItem: null, userErrors: [error(['id'], 'The product couldn\'t be updated because it does not exist.')] };
	if (input.cost !== undefined && input.cost !== null && !(Number(input.cost) >= 0))
		return { inventoryItem: null, userErrors: [error(['input', 'cost'], 'Cost must be greater than or equal to 0')] };
	store.change(item.product, 'product.update', by(context),
		(fields, touched) => setVariant(store, item, variantValues({ inventoryItem: input }), fields, touched));
	return { inventoryItem: item, userErrors: [] };
}

const NOTHING = { inventoryAdjustmentGroup: null };
module.exports = {
	mutations: {
		inventorySetQuantities: idempotent('inventorySetQuantities', NOTHING, setQuantities),
		inventoryAdjustQuantities: idempotent('inventoryAdjustQuantities', NOTHING, adjustQuantities),
		inventoryActivate: idempotent('inventoryActivate', { inventoryLevel: null }, activate),
		inventoryItemUpdate: updateItem,
	},
	forgetReplies: () => replies.clear(),
};
