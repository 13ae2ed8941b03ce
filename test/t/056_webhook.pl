# Webhooks of Shopify as they come: signed by a real HMAC, twice at a time, in floods; and the subscriptions that make them come, which a
# shop may lose, point elsewhere, or refuse.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256_base64);
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use ProductSync::Cluster;

# A shop that knows webhook subscriptions, and no product.
package TinyShop;
use parent 'ProductSync::Server';
sub start
{
	my ($class) = @_;
	my $dir = $ENV{TESTDATADIR} // '/tmp';
	my $self = bless { name => 'tiny shop', log => "$dir/shop-$$.log" }, $class;
	open my $out, '>', "$dir/shop-$$.js" or die $!;
	print $out <<'JS';
const http = require('http');
let subscriptions = [], log = [], next = 1, options = {};
const gid = kind => `gid://shopify/${kind}/${next++}`;
http.createServer((request, response) => {
	let body = '';
	request.on('data', piece => body += piece).on('end', () => {
		const answer = (value, status) => { response.writeHead(status || 200, { 'X-Shopify-API-Version': '2026-10' }); response.end(JSON.stringify(value)); };
		const path = request.url;
		if (path == '/_state') return answer({ subscriptions, log });
		if (path == '/_put') { ({ subscriptions = subscriptions, options = {} } = JSON.parse(body)); log = []; return answer({}); }
		if (request.headers['x-shopify-access-token'] !== 'shpat_1') return answer({ errors: 'no' }, 401);
		const { query, variables: v } = JSON.parse(body);
		const verb = /webhookSubscription(s|Create|Update)/.exec(query);
		log.push(verb ? verb[1] : 'other');
		const done = data => answer({ data, extensions: { cost: { requestedQueryCost: 10, actualQueryCost: 10,
			throttleStatus: { maximumAvailable: 2000, currentlyAvailable: 1990, restoreRate: 100 } } } });
		if (!verb) return done({ product: null });
		if (verb[1] == 's') return done({ webhookSubscriptions: { nodes: subscriptions } });
		const name = 'webhookSubscription' + verb[1];
		const refuse = message => done({ [name]: { webhookSubscription: null, userErrors: [{ field: ['webhookSubscription'], message }] } });
		if (v.topic && options.refuse == v.topic) return refuse('You cannot create a webhook subscription with the specified topic');
		let one = subscriptions.find(s => s.id == v.id);
		if (verb[1] == 'Create') {
			if (subscriptions.some(s => s.topic == v.topic && s.uri == v.wanted.uri)) return refuse('Address for this topic has already been taken');
			subscriptions.push(one = { id: gid('WebhookSubscription'), topic: v.topic });
		}
		Object.assign(one, { uri: v.wanted.uri, fields: v.wanted.includeFields });
		if (options.drop && options.drop-- > 0) return response.destroy();
		done({ [name]: { webhookSubscription: one, userErrors: [] } });
	});
}).listen(0, '127.0.0.1', function () { console.log(JSON.stringify({ port: this.address().port })); });
JS
	close $out;
	$self->spawn('node', "$dir/shop-$$.js");
	$self->{port} = $self->await('port', sub { $self->output =~ /"port":(\d+)/ && $1 });
	return $self;
}

package main;

my $shop = TinyShop->start;
my $key = 'shpss_k3y-of-the-app';
my $json = JSON::PP->new->canonical;
my $node = ProductSync::Cluster->start_new('main', conf => 'product_sync.max_workers = 0');
$node->secret('webhooks', $key);
$node->secret('shop', 'shpat_1');
$node->safe_psql('postgres', "INSERT INTO sync.connection (name, kind, base_url, secret_ref, settings) VALUES ('shop', 'shopify', 'http://127.0.0.1:" . $shop->port
	. "/', 'file:shop', '{\"shop_domain\": \"shop.myshopify.com\", \"webhook_secret_ref\": \"file:webhooks\"}')");
my $number = 0;

# The headers of a webhook with this body.
sub headers
{
	my ($body, %header) = @_;
	return $json->encode({ 'x-shopify-topic' => 'products/update', 'x-shopify-shop-domain' => 'shop.myshopify.com', 'x-shopify-webhook-id' => 'w' . ++$number,
		'x-shopify-hmac-sha256' => hmac_sha256_base64($body, $key) . '=', 'x-shopify-triggered-at' => '2026-11-24T10:00:00Z', %header });
}

# SQL that does what PostgREST does with a POST: headers in a setting, the raw body as the one argument.
sub call
{
	my ($body, %header) = @_;
	return "SELECT set_config('request.headers', \$h\$" . headers($body, %header) . "\$h\$, true);\n"
		. "SELECT concat(sync_webhook_shopify('\\x" . unpack('H*', $body) . "'::bytea), current_setting('response.status', true));";
}
sub jobs { $node->value("SELECT string_agg(concat_ws(' ', class, payload ->> 'remote_id'), ', ' ORDER BY id) FROM sync.job WHERE kind = 'shopify_product'") }

# Through the whole of it, with an HMAC that is not ours.
sub post { my @lines = split /\n/, $node->safe_psql('postgres', 'BEGIN; ' . call(@_) . ' COMMIT;'); return $lines[-1] }
is(post('{"id": 4711, "title": "Ordner Größe 5"}'), '{"result" : "enqueued"}', 'a webhook that Shopify signed is taken');
is(jobs(), '1 4711', 'and its product is read again, before other work');
is(post('{"id": 4711}', 'x-shopify-topic' => 'products/delete'), '{"result" : "enqueued"}', 'a deletion is a hint too');
is(jobs(), '1 4711', 'one reading serves both');
is($node->value("SELECT payload ->> 'evidence' FROM sync.job WHERE kind = 'shopify_product'"), '', 'an enqueued reading stays what it is');
is(post('{"id": 4712}', 'x-shopify-topic' => 'products/delete'), '{"result" : "enqueued"}', 'of a product that is not read yet');
is($node->value("SELECT payload ->> 'evidence' FROM sync.job WHERE payload ->> 'remote_id' = '4712'"), 'webhook', 'the reading knows why it may find nothing');
like(post('{"id": 4713}', 'x-shopify-hmac-sha256' => hmac_sha256_base64('{"id": 4713}', 'guess') . '='), qr/signature is not right.*401/, 'a wrong signature is refused with its status');
is(jobs(), '1 4711, 1 4712', 'and nothing comes of it');
is($node->value("SELECT count(*) FROM sync.webhook_event WHERE outcome = 'refused'"), 1, 'but a row that tells of it');

# The same webhook in many sessions at once, each of which takes its time.
my $dir = $ENV{TESTDATADIR} // '/tmp';
open my $out, '>', "$dir/same-$$.sql" or die $!;
print $out "BEGIN;\n", call('{"id": 4714}', 'x-shopify-webhook-id' => 'same'), "\nSELECT pg_sleep(0.2);\nCOMMIT;\n";
close $out;
$node->command_ok([ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', 1, '-f', "$dir/same-$$.sql", 'postgres' ], 'one webhook in eight sessions at once');
is($node->value("SELECT string_agg(outcome || ' ' || n, ', ' ORDER BY outcome DESC) FROM (SELECT outcome, count(*) AS n FROM sync.webhook_event WHERE webhook_id = 'same' GROUP BY 1) s"),
	'enqueued 1, duplicate 7', 'is taken once');
is($node->value("SELECT count(*) FROM sync.job WHERE payload ->> 'remote_id' = '4714'"), 1, 'and its product read once');

# How long an answer takes: told, not judged.  id: SQL for the number of the webhook.
sub timed
{
	my ($what, $body, $id, $argument) = @_;
	my $headers = headers($body);
	open my $script, '>', "$dir/timed-$$.sql" or die $!;
	print $script "SELECT set_config('request.headers', (\$h\$$headers\$h\$::jsonb || jsonb_build_object('x-shopify-webhook-id', $id))::text, false);\n",
		"SELECT sync_webhook_shopify($argument);\n";
	close $script;
	my ($stdout, $stderr) = run_command([ 'pgbench', '-n', '-c', 2, '-j', 1, '-T', 2, '-r', '-f', "$dir/timed-$$.sql", '-h', $node->host, '-p', $node->port, 'postgres' ]);
	my ($latency) = $stdout =~ /^\s*([0-9.]+)\s.*SELECT sync_webhook_shopify/m;
	ok(defined $latency && $stderr !~ /error/i, "$what is answered") or diag($stdout, $stderr);
	note("$what: $latency ms");
}
my $small = '{"id": 4715, "updated_at": "2026-11-24T10:00:00-05:00"}';
my $long = '{"id": 4716, "body_html": "' . 'a long description ' x 25000 . '"}';
timed('a new webhook', $small, 'gen_random_uuid()', "'$small'");
timed('a repeated one', $small, "'w1'", "'$small'");
timed('one of half a megabyte', $long, 'gen_random_uuid()', q{convert_to('{"id": 4716, "body_html": "' || repeat('a long description ', 25000) || '"}', 'UTF8')});
timed('five megabytes of garbage', 'x', "'w1'", "convert_to(repeat('garbage! ', 600000), 'UTF8')");
cmp_ok($node->value("SELECT count(*) FROM sync.webhook_event WHERE outcome IN ('refused', 'duplicate')"), '<', 300, 'a flood of refusals and repetitions leaves few rows');
cmp_ok($node->value('SELECT sum(more) FROM sync.webhook_event'), '>', 10, 'and is counted');
is($node->value("SELECT count(*) FROM sync.job WHERE payload ->> 'remote_id' = '4715'"), 1, 'any number of webhooks of one product are one reading');

# From here on workers work.  A deletion is believed when the product is looked for and not there, within a second or so.
$node->safe_psql('postgres', "DELETE FROM sync.job; INSERT INTO sync.shopify_product (connection, remote_id, document, remote_updated_at, merge_due) VALUES ('shop', 4720, '{\"title\": \"Binder\"}', now(), false)");
$node->append_conf('postgresql.conf', 'product_sync.max_workers = 2');
$node->reload;
my $began = time;
post('{"id": 4720}', 'x-shopify-topic' => 'products/delete');
ok($node->poll_query_until('postgres', 'SELECT gone_since IS NOT NULL FROM sync.shopify_product WHERE remote_id = 4720'), 'a product that was deleted is found to be gone');
note(sprintf('%.0f ms after its webhook', (time - $began) * 1000));
is($node->value('SELECT gone_evidence FROM sync.shopify_product WHERE remote_id = 4720'), 'webhook', 'by the word of a webhook');

# Subscriptions.
my $url = 'https://hooks.example.com/rpc/sync_webhook_shopify_json';
sub setting { my %new = @_; $node->safe_psql('postgres', "UPDATE sync.connection SET settings = settings || \$s\$" . $json->encode(\%new) . "\$s\$ WHERE name = 'shop'") }
sub put { $shop->ask('/_put', {@_}) }
sub state_of { return $shop->ask('/_state') }

# Has the subscriptions looked at and waits until that is over.
sub ensure
{
	$node->safe_psql('postgres', "SELECT sync_webhooks_ensure('shop')");
	settled();
}
sub settled
{
	my $left = 1;
	for (my $end = time + 40; $left && time < $end; sleep 0.05)
	{
		$left = $node->value("SELECT count(*) FROM sync.job WHERE kind = 'shopify_webhooks'");
	}
	is($left, 0, '  the look ends');
}
sub shop_has { return join ' ', sort map { "$_->{topic}=" . ($_->{uri} eq $url ? 'ours' : $_->{uri}) } @{ state_of()->{subscriptions} } }
my @topics = sort qw(PRODUCTS_CREATE PRODUCTS_UPDATE PRODUCTS_DELETE INVENTORY_LEVELS_UPDATE INVENTORY_ITEMS_UPDATE BULK_OPERATIONS_FINISH APP_UNINSTALLED);
my $all = join ' ', map { "$_=ours" } @topics;
sub rows { return $node->value("SELECT count(*) FILTER (WHERE verified_at > now() - interval '1 minute' AND error IS NULL AND remote_id IS NOT NULL AND uri = '$url') || ' of ' || count(*) FROM sync.webhook_subscription") }

my ($rc, $stdout, $stderr) = $node->psql('postgres', "SELECT sync_webhooks_ensure('shop')");
like($stderr, qr/no enabled Shopify connection with setting webhook_url/, 'without an address there is nothing to subscribe');
is($node->value('SELECT sync_webhooks_ensure()'), 0, 'for no shop');
is($node->value("SELECT sync.tick('webhooks')"), '0 shops', 'nor by the clock');

setting(webhook_url => $url);
put(subscriptions => [ { id => 'gid://shopify/WebhookSubscription/900', topic => 'PRODUCTS_UPDATE', uri => 'https://somebody.else/' } ]);
is($node->value("SELECT sync.tick('webhooks')"), '1 shops', 'with one, the clock has them made');
settled();
is(shop_has(), join(' ', sort(split(/ /, $all), 'PRODUCTS_UPDATE=https://somebody.else/')), 'the shop has all of them, and what is somebody else\'s is left alone');
is(rows(), '7 of 7', 'as sync.webhook_subscription tells');
is_deeply([ map { $_->{fields} } grep { $_->{topic} eq 'PRODUCTS_CREATE' } @{ state_of()->{subscriptions} } ], [ [ 'id', 'updated_at' ] ], 'only what is of use is asked for');
is($node->value("SELECT sync.tick('webhooks')"), '0 shops', 'verified, they are left in peace');
put();
ensure();
is_deeply(state_of()->{log}, ['s'], 'looking again changes nothing');
$node->safe_psql('postgres', "UPDATE sync.webhook_subscription SET verified_at = now() - interval '25 hours' WHERE topic = 'products/delete'");
is($node->value("SELECT sync.tick('webhooks')"), '1 shops', 'a day later they are looked at again');
settled();

# Lost, and pointing elsewhere.
my @left = grep { $_->{topic} !~ /^(PRODUCTS_DELETE|APP_UNINSTALLED)$/ && $_->{uri} eq $url } @{ state_of()->{subscriptions} };
$_->{topic} eq 'INVENTORY_ITEMS_UPDATE' and $_->{uri} = 'https://wrong.example.com/' for @left;
put(subscriptions => \@left);
ensure();
is(shop_has(), $all, 'lost ones are made anew, one that points elsewhere is put right');
is(join(' ', sort @{ state_of()->{log} }), 'Create Create Update s', 'with no request too many');
is($node->value("SELECT string_agg(message, '; ') FROM sync.notification WHERE kind = 'webhook_missing'"),
	'Shop "shop" had lost its webhooks for products/delete, inventory_items/update, app/uninstalled; they are made anew', 'and people are told');
$url = 'https://new.example.com/rpc/sync_webhook_shopify_json';
setting(webhook_url => $url);
put();
is($node->value("SELECT sync.tick('webhooks')"), '1 shops', 'a new address is noticed');
settled();
is(shop_has(), $all, 'and each subscription moved to it');
is(rows(), '7 of 7', 'as the rows tell');
is($node->value("SELECT count(*) FROM sync.notification WHERE kind = 'webhook_missing'"), 1, 'which is no loss');

# What Shopify refuses, and an answer that is lost.
put(subscriptions => [], options => { refuse => 'INVENTORY_LEVELS_UPDATE', drop => 1 });
ensure();
is(shop_has(), join(' ', grep { !/LEVELS/ } split / /, $all), 'one topic is refused: the others are made, none twice');
settled();
is($node->value("SELECT error FROM sync.webhook_subscription WHERE topic = 'inventory_levels/update'"), 'You cannot create a webhook subscription with the specified topic', 'the row says why');
is($node->value("SELECT count(*) FROM sync.notification WHERE kind = 'webhook_subscription'"), 1, 'so does a notification');
put(options => { refuse => 'INVENTORY_LEVELS_UPDATE' });
ensure();
is($node->value("SELECT count(*) FROM sync.notification WHERE kind = 'webhook_subscription'"), 1, 'once');
put();
ensure();
is(shop_has(), $all, 'when it is allowed, it is made');
is($node->value("SELECT count(*) FROM sync.webhook_subscription WHERE error IS NOT NULL"), 0, 'and the error is gone');
is($node->value("SELECT count(*) FROM sync.dead_letter WHERE kind IN ('shopify_webhooks', 'shopify_product')"), 0, 'no job failed');

# The key and the token are nowhere.
$node->command_ok([ 'pg_dump', '-f', "$dir/dump-$$.sql", 'postgres' ], 'a dump');
my $seen = slurp_file("$dir/dump-$$.sql") . slurp_file($node->logfile);
ok(index($seen, $key) < 0 && index($seen, 'shpat_1') < 0, 'neither key nor token is in tables or log');
is($node->value("SELECT string_agg(concat_ws(' ', obj_description(oid, 'pg_proc') IS NOT NULL, prosecdef), ', ') FROM pg_proc WHERE proname LIKE 'sync_webhook%'"), 't t, t t, t t', 'calls have comments');

$node->stop;
done_testing();
