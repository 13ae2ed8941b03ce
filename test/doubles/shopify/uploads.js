// Staged uploads: where a client puts the file of variables of a bulk mutation.  stagedUploadsCreate gives an address with signed
// parameters; a form is posted there, these parameters first and the file last, as Google's storage wants it, which answers in XML.
// The parameters, the answer of a success and the policy's length range are those of recorded answers; the texts of refusals are
// Google's as its documentation has them.
'use strict';

const crypto = require('crypto');
const { graphql } = require('./schema.js');

const LONGEST = 104857600;      // bytes of a file: content-length-range of the policy
const BUCKET = 'shopify-staged-uploads';

const notInDouble = (what) => new graphql.GraphQLError(`The double does not know ${what}`, { extensions: { code: 'NOT_IN_DOUBLE' } });
const xmlText = (text) => String(text).replace(/[<&]/g, (c) => (c === '<' ? '&lt;' : '&amp;'));

class Uploads {
	constructor(shop) {
		this.shop = shop;
		this.reset();
	}

	reset() {
		this.targets = new Map();       // key -> { parameters, made, file }
		this.list = [];                 // what was uploaded, for the test
		this.refused = 0;
	}

	// stagedUploadsCreate.
	create(inputs) {
		const errors = [];
		inputs.forEach((input, k) => {
			if (input.resource !== 'BULK_MUTATION_VARIABLES')
				throw notInDouble(`staged uploads of ${input.resource}, only BULK_MUTATION_VARIABLES`);
			if (input.httpMethod !== 'POST')
				throw notInDouble(`staged uploads by ${input.httpMethod}, only POST`);
			if (input.mimeType !== 'text/jsonl')
				errors.push({ field: ['input', String(k), 'mimeType'],
					message: `${input.filename}: (${input.mimeType}) is not a recognized format` });
		});
		if (errors.length)
			return { stagedTargets: [], userErrors: errors };
		return { stagedTargets: inputs.map((input) => this.target(input)), userErrors: [] };
	}

	target({ filename, mimeType }) {
		const { store, options, base } = this.shop;
		const key = `tmp/${options.shop_id}/bulk/${crypto.randomUUID()}/${filename}`;
		const date = new Date(store.now() / 1000).toISOString().replace(/[-:]|\.\d+/g, '');
		const signed = { 'Content-Type': mimeType, success_action_status: '201', acl: 'private', key, 'x-goog-date': date,
			'x-goog-credential': `merchant-assets@shopify-tiers.iam.gserviceaccount.com/${date.slice(0, 8)}/auto/storage/goog4_request`,
			'x-goog-algorithm': 'GOOG4-RSA-SHA256' };
		const policy = Buffer.from(JSON.stringify({ conditions: [...Object.entries(signed).map(([name, value]) => ({ [name]: value })),
			['content-length-range', 1, LONGEST], { bucket: BUCKET }],
			expiration: new Date(store.now() / 1000 + options.upload_seconds * 1000).toISOString() })).toString('base64');
		const all = { ...signed, 'x-goog-signature': crypto.createHmac('sha256', options.client_secret).update(policy).digest('hex'), policy };
		this.targets.set(key, { parameters: all, made: store.now(), file: null });
		return { url: `${base}/staged-uploads/`, resourceUrl: `${base}/staged-uploads/`,
			parameters: Object.entries(all).map(([name, value]) => ({ name, value })) };
	}

	// The uploaded file of a stagedUploadPath; undefined where there is none or where it is too old.
	find(key) {
		const target = this.targets.get(key);
		return target && target.file && !this.expired(target) ? target.file : undefined;
	}

	expired(target) { return this.shop.store.now() > target.made + this.shop.options.upload_seconds * 1e6; }

	// A posted form: { status, text } of the answer.
	receive(request, raw) {
		const { options, store, base } = this.shop;
		const refuse = (status, code, message, details) => {
			this.refused++;
			return { status, headers: { 'Content-Type': 'application/xml; charset=UTF-8' },
				text: `<?xml version='1.0' encoding='UTF-8'?><Error><Code>${code}</Code><Message>${xmlText(message)}</Message>`
					+ `${details ? `<Details>${xmlText(details)}</Details>` : ''}</Error>` };
		};
		if (options.upload_status_next.length)
			return refuse(options.upload_status_next.shift(), 'ServiceUnavailable', 'Service Unavailable');
		const parts = formParts(request.headers['content-type'], raw);
		if (!parts)
			return refuse(400, 'MalformedPOSTRequest', 'The body of your POST request is not well-formed multipart/form-data.');
		const at = parts.findIndex((p) => p.name === 'file');
		if (at < 0)
			return refuse(400, 'InvalidArgument', 'POST requires exactly one file upload per request.');
		// What comes after the file is not read.
		const given = new Map(parts.slice(0, at).map((p) => [p.name, p.body.toString()]));
		const target = this.targets.get(given.get('key'));
		if (!given.has('policy') || !given.has('x-goog-signature') || !target)
			return refuse(403, 'AccessDenied', 'Access denied.', 'Anonymous caller does not have storage.objects.create access to the '
				+ 'Google Cloud Storage object.');
		for (const [name, value] of Object.entries(target.parameters))
			if (given.get(name) !== value)
				return name === 'x-goog-signature' || name === 'policy'
					? refuse(403, 'SignatureDoesNotMatch', 'The request signature we calculated does not match the signature you provided.')
					: refuse(400, 'InvalidPolicyDocument',
						'The content of the form does not meet the conditions specified in the policy document.',
						given.has(name) ? `Policy did not reference these fields: ${name}` : `Missing field: ${name}`);
		if (this.expired(target))
			return refuse(400, 'InvalidPolicyDocument', 'The policy document has expired.');
		const file = parts[at].body;
		if (file.length > LONGEST)
			return refuse(400, 'EntityTooLarge', 'Your proposed upload exceeds the maximum allowed object size.');
		if (file.length < 1)
			return refuse(400, 'EntityTooSmall', 'Your proposed upload is smaller than the minimum object size specified in your policy.');
		target.file = file;
		const key = given.get('key');
		this.list.push({ key, bytes: file.length, at: store.isoNow() });
		return { status: 201, headers: { 'Content-Type': 'application/xml; charset=UTF-8' },
			text: `<?xml version='1.0' encoding='UTF-8'?><PostResponse><Location>${base}/staged-uploads/${key}</Location>`
				+ `<Bucket>${BUCKET}</Bucket><Key>${key}</Key><ETag>"${crypto.createHash('md5').update(file).digest('hex')}"</ETag>`
				+ '</PostResponse>' };
	}
}

// The parts of a multipart/form-data body: [{ name, body }], or null.
function formParts(type, raw) {
	const boundary = /^multipart\/form-data\s*;.*?boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(type || '');
	if (!boundary)
		return null;
	const mark = Buffer.from(`--${boundary[1] ?? boundary[2]}`), between = Buffer.concat([Buffer.from('\r\n'), mark]);
	const parts = [];
	let at = raw.indexOf(mark);
	while (at >= 0) {
		const start = at + mark.length;
		if (raw.subarray(start, start + 2).toString() === '--')
			return parts;
		const head = raw.indexOf('\r\n\r\n', start), end = head < 0 ? -1 : raw.indexOf(between, head + 2);
		const name = end < 0 ? null : /name="([^"]*)"/i.exec(raw.subarray(start, head).toString());
		if (!name)
			return null;
		parts.push({ name: name[1], body: raw.subarray(head + 4, end) });
		at = end + 2;
	}
	return null;            // the last mark is missing: the form was cut off
}

module.exports = { Uploads };
