// Webhooks: for every effect, and every subscription to its topic, a delivery with Shopify's headers and an HMAC over its bytes.
//
// A delivery waits until it is sent (webhook_mode "send": at once, to http URIs) or taken by the test (POST /_webhooks).  Its body is
// made only then, from the state of that time, as Shopify does.  Waiting products/update of the same product become one
// (webhook_debounce).  What fails is retried 8 times; then the subscription is deleted.
'use strict';

const crypto = require('crypto');
const http = require('http');
const { VERSION } = require('./schema.js');
const { gid, isoTime, numberOf } = require('./store.js');

const TOPICS = { 'product.create': ['PRODUCTS_CREATE'], 'product.update': ['PRODUCTS_UPDATE'], 'product.delete': ['PRODUCTS_DELETE'],
	inventory: ['INVENTORY_LEVELS_UPDATE', 'PRODUCTS_UPDATE'] };
const RETRIES = 8;

// PRODUCTS_UPDATE -> products/update.
function topicPath(topic) {
	const at = topic.lastIndexOf('_');
	return `${topic.slice(0, at).toLowerCase()}/${topic.slice(at + 1).toLowerCase()}`;
}

// Times in webhooks have the shop's zone.
const restTime = (us) => (us ? isoTime(us).replace('Z', '+00:00') : null);

function restProduct(p) {
	return {
		admin_graphql_api_id: gid('Product', p.id), body_html: p.descriptionHtml, created_at: restTime(p.created), handle: p.handle,
			id: p.id,
		product_type: p.productType, published_at: restTime(p.published), template_suffix: p.templateSuffix, title: p.title,
			updated_at: restTime(p.updated), vendor: p.vendor,
		status: p.status.toLowerCase(), published_scope: 'web', tags: p.tags.join(', '),
		variants: p.variants.map((v) => ({
			admin_graphql_api_id: gid('ProductVariant', v.id), barcode: v.barcode, compare_at_price: v.compareAtPrice,
				created_at: restTime(v.created), id: v.id,
			inventory_policy: v.inventoryPolicy.toLowerCase(), position: v.position, price: v.price, product_id: p.id, sku: v.sku,
				taxable: v.taxable,
			title: v.values.map((x) => x.name).join(' / '), updated_at: restTime(v.updated), option1: v.values[0]?.name ?? null,
				option2: v.values[1]?.name ?? null,
			option3: v.values[2]?.name ?? null, image_id: v.mediaId, inventory_item_id: v.itemId,
				inventory_quantity: v.levels.reduce((n, l) => n + l.available, 0), old_inventory_quantity: 0,
		})),
		options: p.options.map((o) => ({ name: o.name, id: o.id, product_id: p.id, position: o.position,
			values: o.values.map((v) => v.name) })),
		images: p.media.map((m, k) => ({ id: m.id, alt: m.alt || null, position: k + 1, product_id: p.id, src: m.url, variant_ids: [] })),
		variant_gids: p.variants.map((v) => ({ admin_graphql_api_id: gid('ProductVariant', v.id), updated_at: isoTime(v.updated) })),
			has_variants_that_requires_components: false,
	};
}

class Webhooks {
	constructor(shop) {
		this.shop = shop;
		this.reset();
	}

	reset() {
		this.subscriptions = [];
		this.pending = [];
		this.counts = { made: 0, debounced: 0, delivered: 0, failed: 0, lost: 0, doubled: 0, subscriptions_deleted: 0 };
	}

	find(id) { return this.subscriptions.find((w) => w.id === id); }

	// Of each effect of the store.
	note(effect, product) {
		const event = crypto.randomUUID();
		for (const topic of TOPICS[effect.kind] || []) {
			if (topic === 'INVENTORY_LEVELS_UPDATE') {
				const levels = new Set(Object.keys(effect.fields).map((path) =>
					/^variants\[(\d+)\]\.stock\[(\d+)\]/.exec(path)).filter(Boolean).map((m) => `${m[1]}/${m[2]}`));
				for (const key of levels) {
					const [variant, location] = key.split('/').map(Number);
					this.add(topic, `${topic}/${key}`, event, () => {
						const v = this.shop.store.variants.get(variant);
						const level = v && v.levels.find((l) => l.location.id === location);
						return level && { inventory_item_id: v.itemId, location_id: location, available: level.available,
							updated_at: restTime(level.updated),
							admin_graphql_api_id: `${gid('InventoryLevel', location)}?inventory_item_id=${v.itemId}` };
					});
				}
			} else
				this.add(topic, `${topic}/${product.id}`, event,
					() => (topic === 'PRODUCTS_DELETE' ? { id: product.id } : restProduct(product)), product);
		}
		if (effect.kind === 'product.update')
			for (const id of new Set(Object.keys(effect.fields).map((path) =>
				/^variants\[(\d+)\]\.(cost|sku|tracked|weight|requiresShipping|country)/.exec(path)).filter(Boolean).map((m) =>
				Number(m[1])))) {
				const v = this.shop.store.variants.get(id);
				if (v)
					this.add('INVENTORY_ITEMS_UPDATE', `item/${id}`, event,
						() => ({ id: v.itemId, sku: v.sku, created_at: restTime(v.created), updated_at: restTime(v.itemUpdated),
						requires_shipping: v.requiresShipping, cost: v.cost, tracked: v.tracked,
							admin_graphql_api_id: gid('InventoryItem', v.itemId) }));
			}
	}

	bulkFinished(b) {
		this.add('BULK_OPERATIONS_FINISH', `bulk/${b.id}`, crypto.randomUUID(),
			() => ({ admin_graphql_api_id: gid('BulkOperation', b.id), completed_at: restTime(b.completed),
			created_at: restTime(b.created), error_code: b.errorCode && b.errorCode.toLowerCase(), status: b.status.toLowerCase(),
				type: b.type.toLowerCase() }));
	}

	add(topic, key, event, body, product) {
		const { options, store } = this.shop;
		for (const subscription of this.subscriptions.filter((w) => w.topic === topic)) {
			if (options.webhook_debounce && this.pending.some((d) => d.key === key && d.subscription === subscription && d.attempts === 0
				&& topic.endsWith('_UPDATE'))) {
				this.counts.debounced++;
				continue;
			}
			this.counts.made++;
			if (options.webhook_lose_next > 0) {
				options.webhook_lose_next--;
				this.counts.lost++;
				continue;
			}
			const delivery = { id: crypto.randomUUID(), event, topic, key, subscription, body, product, triggered: store.now(),
				attempts: 0 };
			this.pending.push(delivery);
			if (options.webhook_double_next > 0) {
				options.webhook_double_next--;
				this.counts.doubled++;
				this.pending.push(Object.assign(Object.create(delivery), { attempts: 0 }));
			}
			if (options.webhook_mode === 'send')
				setImmediate(() => this.sendAll());
		}
	}

	// What a delivery sends now: headers and body; null when what it is about is gone.
	signed(d) {
		const { options } = this.shop;
		const content = d.body();
		if (!content)
			return null;
		const fields = d.subscription.includeFields;
		const body = JSON.stringify(fields && fields.length
			? Object.fromEntries(Object.entries(content).filter(([key]) => fields.includes(key))) : content);
		const triggered = new Date(d.triggered / 1000).toISOString().replace(/Z$/, String(d.triggered % 1000).padStart(3, '0') + '000Z');
		return {
			topic: d.topic, uri: d.subscription.uri, body,
			headers: {
				'Content-Type': 'application/json', 'User-Agent': 'Shopify-Captain-Hook', Accept: '*/*',
				'X-Shopify-Topic': topicPath(d.topic), 'X-Shopify-Hmac-Sha256': crypto.createHmac('sha256',
					options.client_secret).update(body).digest('base64'),
				'X-Shopify-Shop-Domain': options.shop_domain, 'X-Shopify-API-Version': options.api_version || VERSION,
					'X-Shopify-Webhook-Id': d.id,
				'X-Shopify-Event-Id': d.event, 'X-Shopify-Triggered-At': triggered,
				...(d.subscription.name ? { 'X-Shopify-Name': d.subscription.name } : {}),
				...(d.product ? { 'X-Shopify-Product-Id': String(d.product.id) } : {}),
			},
		};
	}

	pendingSigned() { return this.pending.map((d) => this.signed(d)).filter(Boolean); }

	// Takes deliveries out for the test to hand over: { take: how many (all), topic, order: "reverse" | "shuffle", seed, lose: share,
	// double: share }.
	take({ take = Infinity, topic, order, seed = 1, lose = 0, double = 0 }) {
		let chosen = this.pending.filter((d) => !topic || d.topic === topic).slice(0, take);
		this.pending = this.pending.filter((d) => !chosen.includes(d));
		let state = seed;
		const random = () => { state = (Math.imul(state, 1664525) + 1013904223) >>> 0; return state / 4294967296; };
		const kept = [];
		for (const d of chosen) {
			if (random() < lose) {
				this.counts.lost++;
				continue;
			}
			kept.push(d);
			if (random() < double) {
				this.counts.doubled++;
				kept.push(d);
			}
		}
		chosen = kept;
		if (order === 'reverse')
			chosen.reverse();
		else if (order === 'shuffle')
			for (let k = chosen.length - 1; k > 0; k--) {
				const other = Math.floor(random() * (k + 1));
				[chosen[k], chosen[other]] = [chosen[other], chosen[k]];
			}
		const list = chosen.map((d) => this.signed(d)).filter(Boolean);
		this.counts.delivered += list.length;
		return list;
	}

	sendAll() {
		const list = this.pending.filter((d) => /^http:/.test(d.subscription.uri));
		this.pending = this.pending.filter((d) => !list.includes(d));
		for (const d of list)
			this.send(d);
	}

	send(d) {
		const message = this.signed(d);
		if (!message)
			return;
		let over = false;
		const done = (ok) => {
			if (over)
				return;
			over = true;
			if (ok) {
				this.counts.delivered++;
				return;
			}
			this.counts.failed++;
			if (++d.attempts <= RETRIES)
				setTimeout(() => this.send(d), this.shop.options.webhook_retry_ms * d.attempts);
			else if (this.subscriptions.includes(d.subscription)) {
				this.subscriptions = this.subscriptions.filter((w) => w !== d.subscription);
				this.counts.subscriptions_deleted++;
			}
		};
		const request = http.request(message.uri, { method: 'POST',
			headers: { ...message.headers, 'Content-Length': Buffer.byteLength(message.body) }, timeout: 5000 }, (response) => {
			response.resume();
			done(response.statusCode >= 200 && response.statusCode < 300);
		});
		request.on('error', () => done(false));
		request.on('timeout', () => request.destroy());
		request.end(message.body);
	}

	// ---- subscriptions ---------------------------------------------------------------------------------------------------------

	create(topic, input) {
		const { store } = this.shop;
		const uri = input.uri ?? input.callbackUrl;
		const refuse = (message, field) => ({ webhookSubscription: null, userErrors: [{ field, message }] });
		if (!uri)
			return refuse('Address can\'t be blank', ['webhookSubscription', 'callbackUrl']);
		if (this.subscriptions.some((w) => w.topic === topic && w.uri === uri && (w.filter ?? null) === (input.filter ?? null)))
			return refuse('Address for this topic has already been taken', ['webhookSubscription', 'callbackUrl']);
		const at = store.now();
		const w = { id: store.newId('WebhookSubscription'), topic, uri, format: input.format ?? 'JSON', filter: input.filter ?? null,
			includeFields: input.includeFields ?? [],
			metafieldNamespaces: input.metafieldNamespaces ?? [], name: input.name ?? null, created: at, updated: at };
		this.subscriptions.push(w);
		return { webhookSubscription: w, userErrors: [] };
	}

	update(id, input) {
		const w = this.find(numberOf(id, 'WebhookSubscription'));
		if (!w)
			return { webhookSubscription: null, userErrors: [{ field: ['id'], message: 'Webhook subscription does not exist' }] };
		for (const name of ['filter', 'includeFields', 'metafieldNamespaces', 'name', 'format'])
			if (input[name] !== undefined)
				w[name] = input[name];
		w.uri = input.uri ?? input.callbackUrl ?? w.uri;
		w.updated = this.shop.store.now();
		return { webhookSubscription: w, userErrors: [] };
	}

	delete(id) {
		const w = this.find(numberOf(id, 'WebhookSubscription'));
		if (!w)
			return { deletedWebhookSubscriptionId: null, userErrors: [{ field: ['id'], message: 'Webhook subscription does not exist' }] };
		this.subscriptions = this.subscriptions.filter((x) => x !== w);
		return { deletedWebhookSubscriptionId: id, userErrors: [] };
	}
}

module.exports = { Webhooks };
