# Whatever happens in the shop, in the ERP, in the feed and by hand, and in whatever order it is seen: in the end both sides agree wherever
# nothing waits for a person, no edit by a person is lost, and running again changes nothing.
#
# A random test: SYNC_SEED (default 1) says what happens, SYNC_ROUNDS (default 40) how much.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use ProductSync::Cluster;
use ProductSync::MemoryShop;
use ProductSync::Pusher;
use ProductSync::Session;
use ProductSync::World;

my $seed = $ENV{SYNC_SEED} // 1;
my $rounds = $ENV{SYNC_ROUNDS} // 40;
my $json = JSON::PP->new->canonical->allow_nonref->ascii;
my $began = time;

my $node = ProductSync::Cluster->start_new('main', preload => 0, conf => "fsync = off");
$node->safe_psql('postgres', slurp_file('/tmp/converge-stubs.sql'));
my $session = ProductSync::Session->new($node->connstr('postgres'));
my $ask = sub { return $session->ask($_[0]) };
my $shop = ProductSync::MemoryShop->new;
my $location = 7;
my $world = ProductSync::World->new(seed => $seed, sql => $ask, shop => $shop, location => $location);
my $pusher = ProductSync::Pusher->new(sql => $ask, shop => $shop, world => $world);

$ask->(<<"END");
INSERT INTO sync.connection (name, kind, base_url, settings) VALUES ('shop', 'shopify', 'https://shop.test/', '{"max_change_share": 1, "webhook_debounce": "0"}'),
	('erp', 'xorosoft', 'https://erp.test/', '{}');
SET ROLE sync_worker;
INSERT INTO sync.run (kind, connection, state) VALUES ('shopify_down', 'shop', 'staging_creation');
INSERT INTO sync.run_phase (run_id, state, attempt) SELECT id, 'staging_creation', 1 FROM sync.run;
INSERT INTO sync.shopify_location (connection, remote_id, name, store) VALUES ('shop', $location, 'Main street', 'Main Warehouse');
RESET ROLE;
END

sub erp_counts
{
	my ($n) = @_;
	my @items = $world->erp_stock($n, map { sort keys %{ ProductSync::World::by_sku($shop->known($_))->{variants} } } $shop->remotes);
	return unless @items;
	my $text = $json->encode(\@items);
	$ask->(<<"END");
INSERT INTO sync.xorosoft_item (connection, item_number, item_key) SELECT DISTINCT 'erp', i ->> 'ItemNumber', sync.item_key(i ->> 'ItemNumber') FROM jsonb_array_elements(\$j\$$text\$j\$) i ON CONFLICT DO NOTHING;
INSERT INTO sync.xorosoft_stock AS s (connection, item_number, store, on_hand, allocated)
SELECT DISTINCT ON (1, 2) 'erp', i ->> 'ItemNumber', 'Main Warehouse', (i #>> '{Stores,0,OnHandQty}')::numeric, 2 FROM jsonb_array_elements(\$j\$$text\$j\$) WITH ORDINALITY AS e (i, no) ORDER BY 1, 2, no DESC
ON CONFLICT (connection, item_number, store) DO UPDATE SET on_hand = excluded.on_hand, seen_at = now();
END
}

sub merge
{
	my ($mode, $share) = @_;
	$ask->("SET ROLE sync_worker;" . $shop->pull($world, $mode, $share) . <<"END");
SELECT sync.shop_sent_due('shop');
SELECT sync.shop_merge_range(1, 'shop', 0, 1000000);
SELECT sync.shop_stock_merge(1, 'shop', NULL);
RESET ROLE;
END
}

# All that is known of a field, in its order.
sub field_story
{
	my ($product, $path) = @_;
	return "product $product, $path:\n" . $ask->(<<"END") . "\n";
WITH story (at, told) AS (
	SELECT e.at, format('#%s %s sets %s over %s', e.no, e.who, e.value, e.over) FROM public.edit e WHERE e.product_id = $product AND e.path = '$path'
	UNION ALL SELECT c.at, format('version %s: %s to %s, %s %s %s', c.version, c.old_value, c.new_value, c.kind, c.source, c.actor)
	FROM sync.product_change c WHERE c.product_id = $product AND c.path = '$path'
	UNION ALL SELECT g.decided_at, format('decision: base %s, here %s, shop %s: %s %s by %s', g.base_value, g.local_value, g.shopify_value, g.outcome, g.value, g.rule)
	FROM sync.decision_log g WHERE g.product_id = $product AND g.path = '$path'
	UNION ALL SELECT c.created_at, format('conflict %s: here %s, shop %s, %s %s', c.state, c.local_value, c.shopify_value, c.choice, c.custom_value)
	FROM sync.conflict c WHERE c.product_id = $product AND c.path = '$path'
	UNION ALL SELECT l.created_at, 'lock ' || l.path || ' ' || l.kind FROM sync.field_lock l WHERE l.product_id = $product AND '$path' LIKE sync.path_pattern(l.path))
SELECT string_agg(to_char(at, 'MI:SS.MS ') || told, E'\\n' ORDER BY at) FROM story
END
}

# ---- what happens ------------------------------------------------------------------------------------------------------------------

$world->merchant_creates for 1 .. 40;
merge('full');
for my $round (1 .. $rounds)
{
	for my $act ($world->shuffle(qw(merchant hand merchant hand stock erp merge push)))
	{
		if ($act eq 'merchant') { $world->merchant_edits(10) }
		elsif ($act eq 'hand') { $world->hand_edits(10) }
		elsif ($act eq 'stock') { $world->merchant_stock(5) }
		elsif ($act eq 'erp') { erp_counts(6) }
		elsif ($act eq 'merge') { merge('delta', $world->pick(0.3, 0.7, 1)) }
		else { $pusher->push(share => 0.6, lose => 0.15) }
	}
	$world->resolve(0.3);
	$world->hand_locks if $world->chance(0.3);
	$world->merchant_creates if $world->chance(0.3);
	$world->merchant_deletes if $world->chance(0.05);
}

# ---- the end ------------------------------------------------------------------------------------------------------------------------

for (1 .. 10)
{
	merge('full');
	last unless $pusher->push;
}
is(scalar(keys %{ $pusher->outbox }), 0, 'in the end nothing is left to be sent') or diag $json->encode($pusher->outbox);
merge('full');

# What the shop has now, as documents with our SKUs, and what people did.
$ask->('CREATE TABLE public.shop_now (remote_id bigint, document jsonb); CREATE TABLE public.edit (no integer, who text, product_id bigint, path text, value jsonb, over jsonb, at timestamptz)'
	. '; CREATE TABLE public.stock_now (remote_id bigint, sku text, location_id bigint, available numeric)');
my $all = $shop->all;
for my $remote (sort { $a <=> $b } keys %$all)
{
	my $document = ProductSync::World::by_sku($all->{$remote});
	$ask->("INSERT INTO public.shop_now VALUES ($remote, " . ProductSync::Pusher::literal($document) . ')');
	$ask->("INSERT INTO public.stock_now VALUES ($remote, '$_', $location, " . ($shop->stock_known($remote, $_, $location) // 'NULL') . ')') for sort keys %{ $document->{variants} };
}
my $no = 0;
my $edits = $json->encode([ map { { %$_, no => ++$no } } @{ $world->{edits} } ]);
$ask->(<<"END");
INSERT INTO public.edit
SELECT (e ->> 'no')::integer, e ->> 'who', CASE e ->> 'who' WHEN 'hand' THEN (e ->> 'key')::bigint
	   WHEN 'merchant' THEN (SELECT l.product_id FROM sync.product_listing l WHERE l.remote_id = (e ->> 'key')::bigint)
	   ELSE (SELECT v.product_id FROM sync.variant v WHERE v.sku = e ->> 'key') END,
	   e ->> 'path', nullif(e -> 'value', 'null'), nullif(e -> 'over', 'null'), to_timestamp((e ->> 'at')::float8)
FROM jsonb_array_elements(\$j\$$edits\$j\$) e;
END

# Whether somebody has a reason to leave a field as it is: it waits for a person, or is locked or frozen.
$ask->(<<'END');
CREATE FUNCTION public.waits(of_product bigint, of_path text) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT EXISTS (SELECT FROM sync.conflict c WHERE c.product_id = of_product AND c.path = of_path AND c.state IN ('open', 'resolved'))
		OR EXISTS (SELECT FROM sync.field_lock l WHERE l.product_id = of_product AND of_path LIKE sync.path_pattern(l.path))
		OR EXISTS (SELECT FROM sync.staging s JOIN sync.staging_field f ON f.staging_id = s.id
				   WHERE s.product_id = of_product AND s.state = 'open' AND (f.path = of_path OR starts_with(of_path, f.path || '.')))
$$;
END
my $apart = $ask->(<<'END');
SELECT format('product %s (%s) %s: %s here, %s in the shop, %s agreed', l.product_id, n.remote_id, d.path, d.local_value, d.shop_value,
	coalesce(sync.document_get(l.base, d.path), (SELECT sync.document_get(jsonb_build_object('variants', jsonb_object_agg(v.sku, i.base)), d.path) FROM sync.listing i JOIN sync.variant v ON v.id = i.variant_id WHERE i.product_listing_id = l.id)))
FROM public.shop_now n JOIN sync.product_listing l ON l.remote_id = n.remote_id
CROSS JOIN LATERAL sync.document_merge(NULL, NULL, sync.product_document(l.product_id), n.document) d
WHERE d.status <> 'converged' AND NOT public.waits(l.product_id, d.path)
ORDER BY 1
END
is($apart, '', 'both sides agree on every field that waits for nobody');
is($ask->('SELECT remote_id FROM public.shop_now n WHERE NOT EXISTS (SELECT FROM sync.product_listing l WHERE l.remote_id = n.remote_id)'), '', 'and every product of the shop is one of the catalogue');
my $uneven = $ask->(<<'END');
SELECT format('%s at %s: %s here, %s in the shop, %s agreed, erp %s', n.sku, n.location_id, k.local, n.available, k.base, k.erp)
FROM public.stock_now n JOIN sync.variant v ON v.sku = n.sku
LEFT JOIN sync.stock_level k ON k.variant_id = v.id AND k.location_id = n.location_id
WHERE (k.local IS DISTINCT FROM n.available OR k.base IS DISTINCT FROM n.available) AND NOT public.waits(v.product_id, sync.stock_path(v.sku, n.location_id))
END
is($uneven, '', 'and on all stock');

# The last edit of each person of a field: it is there, or somebody changed it later, or it was weighed in a decision.
my $lost = $ask->(<<'END');
WITH last AS (
	SELECT DISTINCT ON (e.who, e.product_id, e.path) e.* FROM public.edit e WHERE e.product_id IS NOT NULL AND e.who <> 'erp' ORDER BY e.who, e.product_id, e.path, e.no DESC)
SELECT format('#%s %s of product %s: %s := %s (was %s) at %s; now %s', e.no, e.who, e.product_id, e.path, e.value, e.over, e.at::time(3), n.value)
FROM last e
CROSS JOIN LATERAL (SELECT CASE WHEN e.path LIKE '%.stock[%' THEN (SELECT to_jsonb(k.local) FROM sync.stock_level k JOIN sync.variant v ON v.id = k.variant_id WHERE sync.stock_path(v.sku, k.location_id) = e.path)
							  ELSE sync.document_get(sync.product_document(e.product_id), e.path) END AS value) n
WHERE NOT sync.value_equal(e.path, e.value, n.value)
  -- What was changed in the shop and then deleted there.
  AND NOT (e.who = 'merchant' AND EXISTS (SELECT FROM sync.product_listing l WHERE l.product_id = e.product_id AND l.remote_id NOT IN (SELECT remote_id FROM public.shop_now)))
  -- Another person changed it afterwards, seeing this value, or the ERP did.
  AND NOT EXISTS (SELECT FROM public.edit o WHERE o.product_id = e.product_id AND o.path = e.path AND o.no > e.no
				  AND (o.who = 'erp' OR sync.value_equal(e.path, o.over, e.value) OR sync.value_equal(e.path, o.value, e.value)))
  -- It put back what both had agreed on, after the other side had changed that: the net change is none.
  AND NOT EXISTS (SELECT FROM (SELECT p.* FROM public.edit p WHERE p.product_id = e.product_id AND p.path = e.path AND p.who <> e.who AND p.no < e.no
							   ORDER BY p.no DESC LIMIT 1) o
				  WHERE sync.value_equal(e.path, o.over, e.value) AND NOT sync.value_equal(e.path, o.value, e.over))
  -- The feed, or a rollback.
  AND NOT EXISTS (SELECT FROM sync.product_change c
				  WHERE c.product_id = e.product_id AND c.path = e.path AND c.at > e.at AND c.source <> 'shop' AND c.kind <> 'manual')
  AND NOT EXISTS (SELECT FROM sync.decision_log g WHERE g.product_id = e.product_id AND g.path = e.path AND g.decided_at > e.at
				  AND (sync.value_equal(e.path, g.local_value, e.value) OR sync.value_equal(e.path, g.shopify_value, e.value)))
  AND NOT EXISTS (SELECT FROM sync.conflict c WHERE c.product_id = e.product_id AND c.path = e.path AND c.state IN ('open', 'resolved', 'applied')
				  AND (sync.value_equal(e.path, c.local_value, e.value) OR sync.value_equal(e.path, c.shopify_value, e.value)))
ORDER BY e.no
END
is($lost, '', 'no edit by a person is lost') or diag map { /of product (\d+): (\S+) :=/ ? field_story($1, $2) : () } (split /\n/, $lost)[ 0 .. 2 ];

my $state = "SELECT concat_ws(' ', (SELECT count(*) FROM sync.product_version), (SELECT count(*) FROM sync.staging), (SELECT count(*) FROM sync.decision_log),"
	. " (SELECT md5(string_agg(concat_ws('|', id, state, choice), ',' ORDER BY id)) FROM sync.conflict),"
	. " (SELECT md5(string_agg(d.document::text, ',' ORDER BY d.product_id)) FROM sync.product_documents(ARRAY(SELECT id FROM sync.product)) d))";
my $before = $ask->($state) . ' ' . ($shop->{writes} // 0);
merge('full');
$pusher->push;
is($ask->($state) . ' ' . ($shop->{writes} // 0), $before, 'running again changes nothing');

is($ask->('SELECT product_id FROM sync.product_version GROUP BY product_id HAVING count(*) <> max(version) OR min(version) <> 1'), '', 'versions have no gaps');
is($ask->('SELECT p.id FROM sync.product p WHERE sync_as_of(p.id, now()) IS DISTINCT FROM sync.product_document(p.id)'), '', 'and the newest is what the catalogue has');

$world->{counts}{$_} = $pusher->{$_} for qw(sent lost stale);
note sprintf "seed %s, %d rounds, %.1f s: %d edits in all", $seed, $rounds, time - $began, scalar @{ $world->{edits} };
note join ', ', map { "$_ $world->{counts}{$_}" } sort keys %{ $world->{counts} };
note $ask->("SELECT 'conflicts ' || string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM sync.conflict GROUP BY state) c");
note $ask->("SELECT 'decisions ' || string_agg(rule || ' ' || outcome || ' ' || n, ', ' ORDER BY rule) FROM (SELECT rule, outcome, count(*) AS n FROM sync.decision_log GROUP BY rule, outcome) c");
note $ask->("SELECT format('%s versions of %s products, %s frozen', (SELECT count(*) FROM sync.product_version), (SELECT count(*) FROM sync.product), (SELECT count(*) FROM sync.field_lock WHERE kind = 'freeze'))");
$session->finish;
done_testing();
