-- A catalogue, and a supplier's feed with the troubles that codes and part numbers have in feeds; what the truth is, is known.
--   \set items 100000     rows of existing, and about as many of incoming
-- Makes existing and incoming (id, sku, gtin, brand, mpn, title, price) and truth (incoming_id, existing_id or NULL where the product is
-- new, trouble), in the schema on the search path.  No random numbers, only hashes: the same at each run.
--
-- The products: families of four siblings that differ in one thing (colour, size, capacity, length, finish, side of the car ...), of
-- fourteen kinds of goods.  A brand has a company prefix and numbers its items one after the other, so that siblings' GTINs differ in
-- their last digits only; makers of labels and lamps number theirs with four or five digits, and so share numbers with each other;
-- clothes of all sizes have one part number; food and cosmetics have none.  Of the existing 8 % have no GTIN, 3 % are a refurbished
-- copy or a pack of three under the single item's part number, and a few bear a placeholder or an in-store number.
--
-- A person who sees the data of both rows can tell in each case: what is wrong in one field is told by the others.  The incoming's
-- troubles, as they are named in truth, seven of ten rows have a match:
--   clean              codes right though written otherwise, title in other words
--   size_shared_number clothes: the part number is that of all sizes, no GTIN; the title tells the size
--   gtin_digit, gtin_swapped   one wrong digit; two neighbours swapped
--   gtin_other, gtin_sibling   the valid GTIN of another product; of a sibling
--   gtin_case_code     the GTIN-14 of the case, though the row is the single item
--   gtin_zeros, gtin_scientific   what spreadsheets do: leading zeros lost; 1.23457E+12
--   gtin_placeholder, gtin_restricted   a valid number that many rows bear; an in-store number, which is another product's elsewhere
--   mpn_format, mpn_prefix, mpn_suffix   other case and punctuation; a distributor's letters before it; a region's ending after it; no GTIN
--   mpn_base           without the ending that tells the colour, which the title does; no GTIN
--   mpn_sibling        a sibling's, with the right GTIN and title
--   mpn_in_title       the part number only stands in the title; no GTIN
--   mpn_short          four or five digits that are another brand's number too; no GTIN
--   title_poor         brand and part number, and hardly a title; no GTIN
--   brand_missing, brand_alias   none, in the title either; another spelling; no GTIN
--   sku_equal          it bears our SKU, with a title and no other code
--   sku_collision      its SKU is by chance that of another product of ours
--   beside_copy        our catalogue has the same as refurbished or in packs too, under the same part number; half without GTIN
--   copy_listed        the refurbished one or the pack itself
-- and three of ten are new:
--   new_family, new_sibling   codes of their own, a third without GTIN; nothing alike, or a sibling in the catalogue
--   new_short_number   the part number is another brand's product's in the catalogue; no GTIN
--   new_sibling_gtin, new_sibling_mpn, new_sibling_base   a sibling's GTIN; a sibling's part number; that without its ending
--   new_other_gtin, new_placeholder, new_restricted, new_sku_collision   as above, of a product that is new
--   new_size           clothes in a size that the catalogue lacks: part number of all sizes, no GTIN
--   refurbished, remanufactured, compatible, accessory   they name the original and its part number, the first two its GTIN too at times
--   multipack, case_pack   packs of the single item, with its part number and at times its GTIN; cases with the case's own GTIN-14

CREATE SCHEMA IF NOT EXISTS made;

CREATE OR REPLACE FUNCTION made.h(n bigint, salt integer) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$SELECT hashint8extended(n, salt) & 9007199254740991$$;

CREATE OR REPLACE FUNCTION made.pick(choices text[], n bigint, salt integer) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$SELECT choices[1 + made.h(n, salt) % array_length(choices, 1)]$$;

-- With its check digit; the digits are those before it.
CREATE OR REPLACE FUNCTION made.checked(digits text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT digits || (10 - sum(d::integer * CASE WHEN (length(digits) - p) % 2 = 0 THEN 3 ELSE 1 END) % 10) % 10
	FROM unnest(string_to_array(digits, NULL)) WITH ORDINALITY s(d, p)
$$;

-- A name of two or three syllables.
CREATE OR REPLACE FUNCTION made.name(n bigint, salt integer) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT initcap(made.pick('{ve,lo,ra,mi,ka,tor,zen,sol,bri,qua,del,fen,gar,hul,jas,nor,pel,rus,tas,vin}', n, salt) ||
		made.pick('{la,ri,no,xa,mo,te,du,si,ge,vo,bel,cor,dan,fin,mar,per,ton,var,wel,zor}', n, salt + 1) ||
		made.pick('{"",n,x,ra,s,do,lite,max,ia,tron}', n, salt + 2))
$$;

-- A number's neighbours swapped, from position p on where they differ.
CREATE OR REPLACE FUNCTION made.swapped(digits text, p integer) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	WHILE p < length(digits) - 1 AND substr(digits, p, 1) = substr(digits, p + 1, 1) LOOP
		p := p + 1;
	END LOOP;
	RETURN overlay(digits PLACING substr(digits, p + 1, 1) || substr(digits, p, 1) FROM p FOR 2);
END
$$;

-- The goods.  axis: what siblings differ in; endings: how their part numbers tell it, NULL where these number on instead.
CREATE TABLE made.goods AS
SELECT row_number() OVER () - 1 AS no, g.*
FROM (VALUES
	('camera', '{Sony,Canon,Nikon,Panasonic,Olympus,Fujifilm}'::text[], '{digital camera,camcorder,compact camera}'::text[],
		'{10.1 MP 4x zoom,12.1 MP 5x zoom,14 MP 8x zoom,16 MP 10x zoom}'::text[], '{Black,Silver,Red,Blue}'::text[], '{/B,/S,/R,/L}'::text[], 180),
	('toner', '{HP,Brother,Canon,Lexmark,Epson,Xerox}', '{toner cartridge,ink cartridge,drum unit}', '{1500 pages,2500 pages,6000 pages}',
		'{Black,Cyan,Magenta,Yellow}', NULL, 70),
	('office', '{Avery,Smead,Acco,Fellowes,Pendaflex,Wilson Jones}', '{address labels,file folders,report covers,index dividers,binder}',
		'{letter size,legal size,8.5 x 11 in}', '{White,Blue,Green,Assorted Colors}', NULL, 14),
	('tool', '{DeWalt,Bosch,Makita,Milwaukee,Black & Decker,Ryobi}', '{cordless drill,impact driver,circular saw,angle grinder}',
		'{12 V,18 V,20 V}', '{Bare Tool,Kit with 2 Batteries,with Case,with Charger}', '{B,C2,T,K}', 120),
	('clothes', '{Carhartt,Dickies,Hanes,Wrangler,Timberland}', '{work shirt,hooded sweatshirt,cargo pants,rain jacket}',
		'{Navy,Charcoal,Khaki}', '{Size S,Size M,Size L,Size XL}', '{"","","",""}', 35),
	('memory', '{Kingston,SanDisk,Corsair,Crucial,Transcend}', '{USB flash drive,SD memory card,solid state drive}', '{USB 3.0,class 10,high speed}',
		'{16 GB,32 GB,64 GB,128 GB}', '{/16GB,/32GB,/64GB,/128GB}', 30),
	('cable', '{Belkin,StarTech,Tripp Lite,Monster,C2G}', '{HDMI cable,patch cable,USB cable,audio cable}', '{Cat6,gold plated,shielded}',
		'{3 ft,6 ft,10 ft,25 ft}', '{-03,-06,-10,-25}', 12),
	('appliance', '{GE,Whirlpool,LG,Samsung,Frigidaire,KitchenAid}', '{dishwasher,microwave oven,refrigerator,coffee maker}',
		'{24 in,30 in,1.6 cu ft,900 W}', '{White,Black,Stainless,Red}', '{W,B,S,R}', 450),
	('toy', '{LEGO,Hasbro,Mattel,Ravensburger}', '{building set,board game,jigsaw puzzle}', '{ages 4+,ages 8+,ages 12+}',
		'{Castle,Harbor,Safari,Rocket}', NULL, 40),
	('car part', '{Bosch,ACDelco,Moog,Fram,Monroe}', '{brake pad set,oil filter,ball joint,shock absorber}', '{ceramic,heavy duty,premium}',
		'{Front Left,Front Right,Rear Left,Rear Right}', NULL, 45),
	('food', '{Nestle,Kraft,General Mills,Quaker}', '{granola bars,instant coffee,crackers,soup}', '{8.9 oz,12 oz,16 oz}',
		'{Original,Chocolate,Honey,Garlic}', NULL, 6),
	('cosmetic', '{L''Oreal,Maybelline,Revlon,Nivea}', '{lipstick,nail polish,foundation,hand cream}', '{0.5 oz,1 oz,2.5 oz}',
		'{Rose,Coral,Ruby,Ivory}', NULL, 11),
	('lamp', '{Philips,GE,Sylvania,Osram,Feit}', '{LED bulb,halogen lamp,fluorescent tube}', '{soft white,daylight,E26 base}',
		'{40 W,60 W,75 W,100 W}', NULL, 9),
	('furniture', '{HON,Bush,Safco,Lorell}', '{executive desk,bookcase,task chair,filing cabinet}', '{60 in,72 in,36 in}',
		'{Mahogany,Cherry,Oak,Walnut}', '{.NN,.CC,.OO,.WW}', 320)
) g(name, brands, nouns, specs, axis, endings, price);

-- Families.  rank: of the brand's families in this kind of goods.
CREATE TABLE made.family AS
SELECT f, g.name AS goods, b.brand, dense_rank() OVER (ORDER BY b.brand) AS company, made.name(f, 20) || CASE WHEN made.h(f, 23) % 2 = 0 THEN ' ' || made.name(f, 24) ELSE '' END AS line,
	made.pick(g.nouns, f, 30) AS noun, made.pick(g.specs, f, 31) AS spec, g.axis, g.endings,
	row_number() OVER (PARTITION BY g.no, b.brand ORDER BY f) AS rank,
	round((g.price * (0.6 + (made.h(f, 32) % 1000) / 800.0))::numeric, 2) AS price,
	made.h(f, 33) % 1000 AS fate
FROM generate_series(1, :items * 34 / 100) f
JOIN made.goods g ON g.no = made.h(f, 10) % (SELECT count(*) FROM made.goods)
CROSS JOIN LATERAL (SELECT made.pick(g.brands, f, 11) AS brand) b;

-- Part numbers as the goods have them, without the ending that tells siblings apart.
CREATE OR REPLACE FUNCTION made.part_number(kind text, brand text, family bigint, rank bigint, sibling integer) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE kind
		WHEN 'camera' THEN upper(substr(md5(brand), 1, 1)) || letters || '-' || substr('WXTHZ', (made.h(family, 41) % 5 + 1)::integer, 1) || 100 + rank
		WHEN 'toner' THEN letters || 200 + rank * 4 + sibling || 'A'
		WHEN 'office' THEN (5000 + rank * 4 + sibling)::text
		WHEN 'tool' THEN 'D' || letters || 700 + rank
		WHEN 'clothes' THEN substr(letters, 1, 1) || 10000 + rank * 3
		WHEN 'memory' THEN letters || 40 + rank
		WHEN 'cable' THEN 'A' || made.h(family, 42) % 9 || 'L' || 700 + rank
		WHEN 'appliance' THEN 'W' || letters || 500 + rank || 'PAD'
		WHEN 'toy' THEN (10000 + rank * 4 + sibling)::text
		WHEN 'car part' THEN letters || 1040 + rank * 4 + sibling
		WHEN 'lamp' THEN (59000 + rank * 4 + sibling)::text
		WHEN 'furniture' THEN substr(letters, 1, 1) || 10000 + rank
	END
	FROM (SELECT translate(substr(md5(brand || kind), 1, 2), '0123456789abcdef', 'CDFGHJKLMNPRSTVW')) l(letters)
$$;

-- All products, whether the catalogue has them or not.  A third of the families of which the catalogue has any lack one sibling there.
CREATE TABLE made.product AS
SELECT row_number() OVER (ORDER BY p.f, p.v) AS id, p.*, p.base || p.ending AS mpn, p.base || p.ending ~ '^[0-9]+$' AS short_number,
	made.checked(CASE p.company % 4 WHEN 0 THEN '00' || 30000 + p.company * 7 WHEN 2 THEN '0' || 10000 + p.company * 7 || '0' ELSE '4' || 100000 + p.company * 13 END ||
		lpad((row_number() OVER (PARTITION BY p.brand ORDER BY p.f, p.v))::text, 5, '0')) AS gtin,
	CASE WHEN p.fate < 115 OR (p.fate < 575 AND p.v = p.fate % 4) THEN 'new' ELSE 'ours' END AS side
FROM (SELECT f.*, v, f.axis[v + 1] AS variant, coalesce(f.endings[v + 1], '') AS ending,
		made.part_number(f.goods, f.brand, f.f, f.rank, v) AS base
	FROM made.family f CROSS JOIN generate_series(0, 3) v) p;

ALTER TABLE made.product ADD PRIMARY KEY (id);
ANALYZE made.product;

CREATE TABLE made.ours AS
SELECT row_number() OVER (ORDER BY id) AS no, p.* FROM made.product p WHERE side = 'ours' ORDER BY id LIMIT :items * 97 / 100;
ALTER TABLE made.ours ADD PRIMARY KEY (no);
CREATE INDEX ON made.ours (f);

-- Copies of ours: refurbished, or three in a pack.
CREATE TABLE made.copy AS
SELECT o.*, CASE WHEN o.no % 2 = 0 THEN 'refurbished' ELSE 'pack' END AS copied
FROM made.ours o WHERE o.mpn IS NOT NULL ORDER BY made.h(o.id, 60) LIMIT :items * 3 / 100;

-- Whether the catalogue knows the right GTIN of one of its products, and the part number where there is one.
CREATE OR REPLACE FUNCTION made.gtin_known(product bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT made.h(product, 63) % 1000 >= 90';
CREATE OR REPLACE FUNCTION made.number_known(product bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT made.h(product, 66) % 25 > 0';

CREATE TABLE existing AS
SELECT id::text,
	CASE WHEN made.h(id, 62) % 10 = 0 THEN (100000 + id)::text ELSE 'PS-' || lpad(id::text, 7, '0') END AS sku,
	CASE WHEN NOT made.gtin_known(id) THEN CASE WHEN made.h(id, 63) % 1000 < 2 THEN '012345678905'
		WHEN made.h(id, 63) % 1000 < 10 THEN made.checked('2' || lpad((made.h(id, 64) % (:items / 30))::text, 11, '0')) END
		WHEN gtin LIKE '0%' AND made.h(id, 65) % 3 > 0 THEN substr(gtin, 2) WHEN made.h(id, 65) % 5 = 0 THEN '0' || gtin ELSE gtin END AS gtin,
	brand, CASE WHEN made.number_known(id) THEN mpn END AS mpn,
	concat_ws(' ', brand, line, CASE WHEN made.h(id, 67) % 3 = 0 THEN mpn END, noun, spec, variant) AS title, price
FROM made.ours
UNION ALL
SELECT 'c' || id, 'PS-C' || id, NULL, brand, mpn,
	CASE copied WHEN 'refurbished' THEN concat_ws(' ', brand, line, noun, spec, variant, '- Refurbished')
		ELSE concat_ws(' ', brand, line, noun, spec, variant, '(3-Pack)') END,
	round(price * CASE copied WHEN 'refurbished' THEN 0.6 ELSE 2.7 END, 2)
FROM made.copy;

-- Which product an incoming row is made of, and what is to happen to it.
CREATE TABLE made.plan AS
SELECT row_number() OVER (ORDER BY made.h(s.id, 70), s.planned) AS no, s.*, sibling.id AS sibling, sibling.gtin AS sibling_gtin, sibling.mpn AS sibling_mpn,
	other.id AS other, other.gtin AS other_gtin, c.copied
FROM (
	SELECT p.*, made.pick('{clean,clean,clean,clean,clean,clean,clean,clean,clean,clean,gtin_digit,gtin_swapped,gtin_other,gtin_sibling,gtin_case_code,
			gtin_zeros,gtin_scientific,gtin_placeholder,gtin_restricted,mpn_format,mpn_format,mpn_prefix,mpn_suffix,mpn_base,mpn_base,mpn_sibling,
			mpn_in_title,mpn_short,mpn_short,title_poor,brand_missing,brand_alias,sku_equal,sku_collision}', p.id, 71) AS planned
	FROM made.product p JOIN (SELECT id FROM made.ours ORDER BY made.h(id, 72) LIMIT :items * 70 / 100) o USING (id)
	UNION ALL
	SELECT p.*, made.pick('{new,new,new,new,new,new,new,new,new,new_sibling_gtin,new_sibling_mpn,new_sibling_base,new_other_gtin,new_placeholder,
			new_restricted,new_sku_collision}', p.id, 73)
	FROM (SELECT * FROM made.product WHERE side = 'new' ORDER BY made.h(id, 74) LIMIT :items * 20 / 100) p
	UNION ALL
	SELECT p.*, made.pick('{refurbished,remanufactured,compatible,accessory,multipack,case_pack}', p.id, 75)
	FROM made.product p JOIN (SELECT id FROM made.ours WHERE mpn IS NOT NULL AND id NOT IN (SELECT id FROM made.copy) ORDER BY made.h(id, 76)
		LIMIT :items * 10 / 100) o USING (id)
) s
LEFT JOIN made.copy c ON c.id = s.id AND s.planned NOT LIKE 'new%'
LEFT JOIN LATERAL (SELECT o.id, o.gtin, o.mpn FROM made.ours o WHERE o.f = s.f AND o.id <> s.id ORDER BY (o.v - s.v + 4) % 4 LIMIT 1) sibling ON true
LEFT JOIN made.ours other ON other.no = 1 + made.h(s.id, 77) % (SELECT count(*) FROM made.ours);

-- What does not fit the product becomes something that does.
CREATE TABLE made.row AS
SELECT p.*, CASE
		WHEN copied IS NOT NULL THEN CASE WHEN made.h(id, 80) % 2 = 0 THEN 'beside_copy' ELSE 'copy_listed' END
		WHEN planned = 'clean' AND goods = 'clothes' THEN 'size_shared_number'
		WHEN planned = 'gtin_zeros' AND gtin NOT LIKE '00%' THEN 'gtin_digit'
		WHEN planned = 'gtin_sibling' AND (mpn = sibling_mpn OR sibling_mpn IS NULL OR NOT made.number_known(id)) THEN 'gtin_other'
		WHEN planned = 'mpn_sibling' AND (mpn = sibling_mpn OR sibling_mpn IS NULL OR NOT made.gtin_known(id)) THEN 'gtin_digit'
		WHEN planned = 'gtin_case_code' AND mpn IS NULL THEN 'gtin_scientific'
		WHEN planned = 'mpn_base' AND ending = '' AND mpn IS NOT NULL THEN 'mpn_prefix'
		WHEN planned = 'mpn_short' AND short_number IS NOT TRUE THEN 'mpn_format'
		WHEN planned LIKE 'mpn_%' AND mpn IS NULL OR planned IN ('title_poor', 'brand_missing', 'brand_alias') AND mpn IS NULL THEN 'gtin_swapped'
		WHEN planned IN ('title_poor', 'mpn_in_title') AND goods = 'clothes' THEN 'size_shared_number'
		WHEN planned LIKE 'new_sibling%' AND sibling IS NULL THEN 'new_family'
		WHEN planned = 'new_sibling_gtin' AND (mpn = sibling_mpn OR mpn IS NULL OR NOT made.number_known(sibling)) THEN 'new_other_gtin'
		WHEN planned = 'new_sibling_mpn' AND NOT made.gtin_known(sibling) THEN 'new_other_gtin'
		WHEN planned LIKE 'new%' AND goods = 'clothes' AND sibling IS NOT NULL AND planned <> 'new_sibling_gtin' THEN 'new_size'
		WHEN planned = 'new_sibling_base' AND ending = '' THEN 'new_sibling'
		WHEN planned = 'new_sibling_mpn' AND mpn IS NULL THEN 'new_sibling'
		WHEN planned = 'new' AND short_number AND made.h(id, 81) % 2 = 0 THEN 'new_short_number'
		WHEN planned = 'new' THEN CASE WHEN sibling IS NULL THEN 'new_family' ELSE 'new_sibling' END
		ELSE planned
	END AS trouble
FROM made.plan p;

CREATE TABLE incoming AS
SELECT r.no::text AS id,
	CASE WHEN trouble = 'sku_equal' THEN (SELECT e.sku FROM existing e WHERE e.id = r.id::text)
		WHEN trouble IN ('sku_collision', 'new_sku_collision') THEN (100000 + other)::text ELSE 'S' || r.no END AS sku,
	CASE
		WHEN trouble = 'gtin_digit' THEN overlay(gtin PLACING ((substr(gtin, at, 1)::integer + 1 + made.h(r.id, 91) % 9) % 10)::text FROM at FOR 1)
		WHEN trouble = 'gtin_swapped' THEN made.swapped(gtin, at)
		WHEN trouble IN ('gtin_other', 'new_other_gtin') THEN other_gtin
		WHEN trouble IN ('gtin_sibling', 'new_sibling_gtin') THEN sibling_gtin
		WHEN trouble IN ('gtin_case_code', 'case_pack') THEN made.checked(1 + made.h(r.id, 92) % 8 || left(gtin, 12))
		WHEN trouble = 'gtin_zeros' THEN ltrim(gtin, '0')
		WHEN trouble = 'gtin_scientific' THEN upper(trim(to_char(gtin::numeric, '9.99999EEEE')))
		WHEN trouble IN ('gtin_placeholder', 'new_placeholder') THEN '012345678905'
		WHEN trouble IN ('gtin_restricted', 'new_restricted') THEN made.checked('2' || lpad((made.h(r.id, 93) % (:items / 30))::text, 11, '0'))
		WHEN trouble IN ('refurbished', 'remanufactured', 'multipack') THEN CASE WHEN made.h(r.id, 94) % 3 = 0 THEN gtin END
		WHEN trouble IN ('clean', 'mpn_sibling', 'new_sibling_mpn') OR (trouble = 'beside_copy' AND made.h(r.id, 94) % 2 = 0) OR (trouble IN ('new_family', 'new_sibling') AND made.h(r.id, 94) % 3 > 0) THEN
			CASE made.h(r.id, 95) % 5 WHEN 0 THEN '0' || gtin WHEN 1 THEN left(gtin, 1) || '-' || substr(gtin, 2, 6) || '-' || substr(gtin, 8)
				WHEN 2 THEN ltrim(left(gtin, 1), '0') || substr(gtin, 2) ELSE gtin END
	END AS gtin,
	CASE WHEN trouble = 'brand_missing' OR (made.h(r.id, 100) % 20 = 0 AND trouble !~ 'short|poor|alias|in_title') THEN NULL
		WHEN trouble IN ('compatible', 'accessory') THEN third_party
		WHEN trouble = 'brand_alias' THEN alias ELSE brand END AS brand,
	CASE
		WHEN trouble IN ('mpn_sibling', 'new_sibling_mpn') THEN sibling_mpn
		WHEN trouble IN ('mpn_base', 'new_sibling_base') THEN base
		WHEN trouble = 'mpn_format' THEN made.pick(ARRAY[lower(mpn), regexp_replace(mpn, '[^A-Za-z0-9]', '', 'g'), regexp_replace(mpn, '^([A-Za-z]+)-?', '\1 '),
			regexp_replace(mpn, '[/.-]', '_', 'g')], r.id, 102)
		WHEN trouble = 'mpn_prefix' THEN upper(left(regexp_replace(brand, '[^A-Za-z]', '', 'g'), 3)) || mpn
		WHEN trouble = 'mpn_suffix' THEN mpn || made.pick('{#ABA,-US,-NA,-EU}', r.id, 103)
		WHEN trouble IN ('mpn_in_title', 'sku_equal') THEN NULL
		WHEN trouble LIKE 'gtin_%' AND trouble NOT IN ('gtin_sibling', 'gtin_case_code') AND made.h(r.id, 104) % 2 = 0 THEN NULL
		WHEN trouble = 'clean' AND made.h(r.id, 104) % 3 = 0 THEN NULL
		WHEN trouble = 'compatible' AND made.h(r.id, 105) % 2 = 0 THEN mpn
		WHEN trouble IN ('compatible', 'accessory') THEN upper(left(third_party, 2)) || '-' || 1000 + made.h(r.id, 106) % 9000
		ELSE mpn
	END AS mpn,
	CASE
		WHEN trouble = 'title_poor' THEN concat_ws(' ', CASE WHEN made.h(r.id, 110) % 2 = 0 THEN upper(brand) END, upper(noun), variant)
		WHEN trouble = 'brand_missing' THEN concat_ws(' ', line, spec, noun, variant)
		WHEN trouble = 'mpn_in_title' THEN concat_ws(' ', brand, noun, made.pick(ARRAY[mpn, lower(mpn), regexp_replace(mpn, '[/.-]', '', 'g')], r.id, 111), variant)
		WHEN trouble = 'refurbished' THEN concat_ws(' ', made.pick('{Refurbished,Refurb,Certified Refurbished,Renewed}', r.id, 112), brand, line, noun, spec, variant)
		WHEN trouble = 'copy_listed' THEN concat_ws(' ', brand, line, noun, variant, CASE copied WHEN 'refurbished' THEN '(Refurbished)' ELSE 'Pack of 3' END)
		WHEN trouble = 'remanufactured' THEN concat_ws(' ', 'Remanufactured', brand, mpn, line, noun, variant)
		WHEN trouble = 'compatible' THEN concat_ws(' ', third_party, made.pick('{Compatible,Replacement}', r.id, 113), noun, 'for', brand, mpn, variant)
		WHEN trouble = 'accessory' THEN concat_ws(' ', third_party, made.pick('{case,cover,mount,wall bracket,cleaning kit}', r.id, 114), 'for', brand, line, mpn)
		WHEN trouble = 'multipack' THEN concat_ws(' ', brand, line, noun, spec, variant, made.pick('{(2-Pack),Pack of 3,"6 Pack",Set of 4}', r.id, 115))
		WHEN trouble = 'case_pack' THEN concat_ws(' ', brand, line, noun, spec, variant, made.pick('{Case of 12,Case of 24,"10/Case"}', r.id, 115))
		ELSE concat_ws(' ', CASE WHEN trouble = 'brand_alias' AND made.h(r.id, 101) % 2 = 0 THEN alias ELSE brand END, CASE WHEN made.h(r.id, 116) % 4 = 0 AND mpn IS NOT NULL AND trouble !~ 'mpn|short' THEN mpn END, line,
			CASE WHEN made.h(r.id, 117) % 3 > 0 THEN spec END, noun, CASE variant WHEN 'Black' THEN made.pick('{Black,Blk,black}', r.id, 118)
			WHEN 'White' THEN made.pick('{White,Wht}', r.id, 118) ELSE variant END, made.pick('{"","",New,in stock,- retail box}', r.id, 119))
	END AS title,
	CASE WHEN made.h(r.id, 120) % 8 > 0 OR trouble = 'gtin_case_code' THEN
		round((price * (0.85 + (made.h(r.id, 121) % 30) / 100.0) * CASE WHEN trouble IN ('refurbished', 'remanufactured', 'compatible') THEN 0.6
			WHEN trouble = 'accessory' THEN 0.2 WHEN trouble = 'multipack' THEN 2.8 WHEN trouble = 'case_pack' THEN 11
			WHEN trouble = 'copy_listed' THEN CASE copied WHEN 'refurbished' THEN 0.6 ELSE 2.7 END ELSE 1 END)::numeric, 2) END AS price
FROM (SELECT x.*, 2 + (made.h(x.id, 90) % 11)::integer AS at,
	CASE brand WHEN 'HP' THEN 'Hewlett-Packard' WHEN 'GE' THEN 'General Electric' WHEN 'LG' THEN 'LG Electronics'
		WHEN 'Black & Decker' THEN 'BLACK AND DECKER' WHEN 'Tripp Lite' THEN 'TrippLite' WHEN 'L''Oreal' THEN 'L’Oréal'
		ELSE made.pick(ARRAY[upper(brand), brand || ' Inc.', brand || ' Corporation', 'The ' || brand || ' Company', brand || ' USA'], x.id, 98) END AS alias,
	made.pick('{Nuvo,Dataproducts,Elite Image,Generic Plus,OptiParts,SureFit}', x.id, 99) AS third_party FROM made.row x) r;

CREATE TABLE truth AS
SELECT r.no::text AS incoming_id,
	CASE WHEN trouble = 'copy_listed' THEN 'c' || id
		WHEN trouble LIKE 'new%' OR trouble IN ('refurbished', 'remanufactured', 'compatible', 'accessory', 'multipack', 'case_pack') THEN NULL
		ELSE id::text END AS existing_id, trouble
FROM made.row r;

DROP SCHEMA made CASCADE;
ANALYZE existing, incoming, truth;
